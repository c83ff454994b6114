import Foundation

/// What the last answer cost.
public struct Figures: Equatable, Sendable {
  public let tokens: Int
  public let tokensPerSecond: Double?
  public let firstSeconds: Double
  public let forgottenTurns: Int
  public let memory: UInt64?

  public init(_ stats: AnswerStats) {
    tokens = stats.ids.count
    tokensPerSecond = stats.tokensPerSecond
    firstSeconds = stats.firstSeconds
    forgottenTurns = stats.forgottenTurns
    memory = memoryInUse()
  }

  /// One line below the chat, as "23 tokens, 41.2 tokens/s, first after 0.12 s, memory 52 MB".
  public var line: String {
    var parts = [tokens == 1 ? "1 token" : "\(tokens) tokens"]
    if let tokensPerSecond { parts.append("\(decimals(tokensPerSecond, 1)) tokens/s") }
    parts.append("first after \(decimals(firstSeconds, 2)) s")
    if let memory { parts.append("memory \(memory / 1_000_000) MB") }
    if forgottenTurns == 1 { parts.append("1 turn forgotten") }
    if forgottenTurns > 1 { parts.append("\(forgottenTurns) turns forgotten") }
    return parts.joined(separator: ", ")
  }

  private func decimals(_ value: Double, _ digits: Int) -> String {
    String(format: "%.\(digits)f", value)
  }
}
