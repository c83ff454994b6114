import BitnetChat
import SwiftUI

/// The field for the next message, with the button that sends it or stops the answer.
struct Composer: View {
  @Environment(ChatModel.self) private var model
  @FocusState private var isTyping: Bool

  var body: some View {
    @Bindable var model = model
    HStack(alignment: .bottom, spacing: 8) {
      TextField("Message", text: $model.conversation.draft, axis: .vertical)
        .lineLimit(1...6)
        .textFieldStyle(.plain)
        .padding(10)
        .background(.fill.tertiary, in: .rect(cornerRadius: 18))
        .focused($isTyping)
        .onSubmit { model.send() }
      if model.phase == .answering {
        Button("Stop", systemImage: "stop.circle.fill") { model.stop() }
          .keyboardShortcut(".", modifiers: .command)
          .modifier(RoundButton())
      } else {
        Button("Send", systemImage: "arrow.up.circle.fill") { model.send() }
          .keyboardShortcut(.return, modifiers: .command)
          .disabled(!model.canSend)
          .modifier(RoundButton())
      }
    }
    .padding(.horizontal)
    .padding(.bottom, 8)
  }
}

/// An icon as large as a finger; VoiceOver reads the title.
private struct RoundButton: ViewModifier {
  func body(content: Content) -> some View {
    content
      .labelStyle(.iconOnly)
      .font(.largeTitle)
      .buttonStyle(.plain)
      .foregroundStyle(.tint)
      .frame(minWidth: 44, minHeight: 44)
  }
}
