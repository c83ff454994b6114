import BitnetChat
import BitnetEdge
import SwiftUI

/// One line: what the model does, or what its last answer cost.
struct StatusLine: View {
  @Environment(ChatModel.self) private var model

  var body: some View {
    Text(text)
      .font(.footnote)
      .foregroundStyle(.secondary)
      .frame(maxWidth: .infinity, alignment: .leading)
      .padding(.horizontal)
      .padding(.vertical, 6)
      .accessibilityLabel("Status: \(text)")
  }

  private var text: String {
    switch model.phase {
    case .opening: "The model is opening…"
    case .closed(let sentence): sentence
    case .answering: "The model answers…"
    case .ready: model.figures?.line ?? model.info.map(describe) ?? ""
    }
  }

  private func describe(_ info: EngineInfo) -> String {
    let threads = info.threads == 1 ? "1 thread" : "\(info.threads) threads"
    return [info.name, info.head, info.cache, info.kernel, threads]
      .filter { !$0.isEmpty }.joined(separator: ", ")
  }
}
