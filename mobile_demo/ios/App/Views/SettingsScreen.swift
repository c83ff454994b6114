import BitnetChat
import Foundation
import SwiftUI

/// How the model is asked.
struct SettingsScreen: View {
  @Environment(ChatModel.self) private var model
  @Environment(\.dismiss) private var dismiss

  var body: some View {
    @Bindable var model = model
    Form {
      Section {
        TextField("System prompt", text: $model.settings.systemPrompt, axis: .vertical)
          .lineLimit(1...8)
      } header: {
        Text("System prompt")
      } footer: {
        Text("Holds from the next new chat on.")
      }
      Section("Answers") {
        Stepper(
          "At most \(model.settings.maxNewTokens) tokens", value: $model.settings.maxNewTokens,
          in: 32...4096, step: 32)
        SamplingFields(settings: $model.settings)
      }
      Section {
        Stepper(threads, value: $model.settings.threads, in: 0...16)
      } header: {
        Text("Device")
      } footer: {
        Text("A change opens the model again.")
      }
      if let licences {
        Section {
          NavigationLink("Licences") {
            ScrollView {
              Text(licences)
                .font(.footnote)
                .textSelection(.enabled)
                .padding()
            }
            .navigationTitle("Licences")
          }
        }
      }
    }
    .formStyle(.grouped)
    .navigationTitle("Settings")
    .toolbar {
      ToolbarItem(placement: .confirmationAction) {
        Button("Done") { dismiss() }
      }
    }
    .onChange(of: model.settings.threads) {
      Task { await model.open() }
    }
  }

  /// Of what is linked in; nil where the app was built without them.
  private var licences: String? {
    Bundle.main.url(forResource: "Licences", withExtension: "txt")
      .flatMap { try? String(contentsOf: $0, encoding: .utf8) }
  }

  private var threads: String {
    switch model.settings.threads {
    case 0: "One thread for each fast core"
    case 1: "1 thread"
    default: "\(model.settings.threads) threads"
    }
  }
}

/// How the next token is chosen.
private struct SamplingFields: View {
  @Binding var settings: ChatSettings

  var body: some View {
    Picker("Next token", selection: $settings.sampling) {
      Text("As the model asks").tag(ChatSettings.Sampling.model)
      Text("The most probable one").tag(ChatSettings.Sampling.greedy)
      Text("Drawn by probability").tag(ChatSettings.Sampling.drawn)
    }
    if settings.sampling == .drawn {
      NumberSlider(title: "Temperature", value: $settings.temperature, range: 0.05...2)
      Stepper(
        settings.topK == 0 ? "Top-k: off" : "Top-k: \(settings.topK)", value: $settings.topK,
        in: 0...200, step: 5)
      NumberSlider(title: "Top-p (1: off)", value: $settings.topP, range: 0.05...1)
      NumberSlider(title: "Min-p (0: off)", value: $settings.minP, range: 0...0.5)
    }
    if settings.sampling != .model {
      NumberSlider(
        title: "Repetition penalty (1: off)", value: $settings.repetitionPenalty, range: 1...2)
    }
    Toggle("The same seed for each answer", isOn: hasSeed)
    if settings.seed != nil {
      TextField("Seed", value: seed, format: .number.grouping(.never))
        #if os(iOS)
          .keyboardType(.numberPad)
        #endif
    }
  }

  private var hasSeed: Binding<Bool> {
    Binding {
      settings.seed != nil
    } set: { isOn in
      settings.seed = isOn ? 0 : nil
    }
  }

  private var seed: Binding<Int> {
    Binding {
      Int(clamping: settings.seed ?? 0)
    } set: { number in
      settings.seed = UInt64(clamping: number)
    }
  }
}

/// A slider that shows its number and tells it to VoiceOver.
private struct NumberSlider: View {
  let title: String
  @Binding var value: Double
  let range: ClosedRange<Double>

  var body: some View {
    VStack(alignment: .leading) {
      LabeledContent(title, value: number)
        .accessibilityHidden(true)
      Slider(value: $value, in: range, step: 0.05) {
        Text(title)
      }
      .labelsHidden()
      .accessibilityValue(number)
    }
  }

  private var number: String {
    value.formatted(.number.precision(.fractionLength(2)))
  }
}
