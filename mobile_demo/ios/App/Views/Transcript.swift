import Accessibility
import BitnetChat
import SwiftUI

/// What was said. It follows the answer while it grows.
struct Transcript: View {
  @Environment(ChatModel.self) private var model

  private static let end = "end"

  var body: some View {
    ScrollViewReader { scroll in
      ScrollView {
        LazyVStack(alignment: .leading, spacing: 16) {
          if model.conversation.turns.isEmpty { Welcome() }
          ForEach(model.conversation.turns) { turn in
            TurnView(turn: turn, isGrowing: isGrowing(turn))
          }
          Color.clear.frame(height: 1).id(Self.end)
        }
        .padding()
      }
      .defaultScrollAnchor(.bottom)
      .onChange(of: model.conversation.turns) { scroll.scrollTo(Self.end) }
    }
    .frame(maxHeight: .infinity)
    .onChange(of: model.phase) { old, _ in
      guard old == .answering, let turn = model.conversation.turns.last else { return }
      AccessibilityNotification.Announcement(turn.answer).post()
    }
  }

  private func isGrowing(_ turn: Conversation.Turn) -> Bool {
    model.phase == .answering && turn.id == model.conversation.turns.last?.id
  }
}

/// A message and its answer.
private struct TurnView: View {
  let turn: Conversation.Turn
  let isGrowing: Bool

  var body: some View {
    VStack(alignment: .leading, spacing: 8) {
      Text(turn.user)
        .textSelection(.enabled)
        .padding(12)
        .background(.tint.opacity(0.15), in: .rect(cornerRadius: 16))
        .frame(maxWidth: .infinity, alignment: .trailing)
        .accessibilityLabel("You: \(turn.user)")
      answer
        .frame(maxWidth: .infinity, alignment: .leading)
    }
  }

  @ViewBuilder private var answer: some View {
    if turn.answer.isEmpty && isGrowing {
      ProgressView()
        .controlSize(.small)
        .accessibilityLabel("The model reads your message")
    } else {
      Text(turn.answer.isEmpty ? "(no answer)" : turn.answer)
        .textSelection(.enabled)
        .accessibilityLabel("Model: \(turn.answer)")
        .accessibilityAddTraits(isGrowing ? .updatesFrequently : [])
    }
  }
}

private struct Welcome: View {
  var body: some View {
    Text("The model runs on this device. Nothing that you write leaves it.")
      .foregroundStyle(.secondary)
      .frame(maxWidth: .infinity)
      .padding(.top, 48)
      .multilineTextAlignment(.center)
  }
}
