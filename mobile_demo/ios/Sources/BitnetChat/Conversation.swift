import BitnetEdge
import Foundation

/// What was said, as it is shown and saved.
public struct Conversation: Codable, Equatable, Sendable {
  public struct Turn: Codable, Equatable, Identifiable, Sendable {
    public var id = UUID()
    public var user: String
    public var answer = ""

    public init(user: String) {
      self.user = user
    }
  }

  public var systemPrompt = ""
  public var turns: [Turn] = []
  /// Typed and not yet sent.
  public var draft = ""

  public init(systemPrompt: String = "") {
    self.systemPrompt = systemPrompt
  }
}

extension Conversation {
  /// A message that was not answered, since the app ended or the user, is a draft again.
  mutating func takeBackUnanswered() {
    guard let last = turns.last, last.answer.isEmpty else { return }
    turns.removeLast()
    if draft.isEmpty { draft = last.user }
  }
}

extension Engine {
  /// Makes the engine's conversation the saved one.
  func resume(_ conversation: Conversation) throws {
    let system = conversation.systemPrompt
    try startChat(system: system.isEmpty ? nil : system)
    for turn in conversation.turns {
      try addTurn(user: turn.user, answer: turn.answer)
    }
  }
}
