import BitnetEdge

/// What the user chose. It is kept over starts of the app.
public struct ChatSettings: Codable, Equatable, Sendable {
  public enum Sampling: String, CaseIterable, Codable, Sendable {
    /// As the artifact's generation_config.json asks.
    case model
    /// The most probable token, always.
    case greedy
    /// Drawn by probability, by the values below.
    case drawn
  }

  /// Holds from the next new chat on.
  public var systemPrompt = ""
  public var maxNewTokens = 512
  public var sampling = Sampling.model
  public var temperature = 0.7
  public var topK = 50
  public var topP = 1.0
  public var minP = 0.0
  public var repetitionPenalty = 1.0
  /// Another one for each answer where nil.
  public var seed: UInt64?
  /// One for each fast core where 0. Holds when a model is opened.
  public var threads = 0
  /// Of the model that answers; the first one where it is gone.
  public var model: String?

  public init() {}

  /// The options of the next answer of a model that asks for `defaults`.
  public func options(_ defaults: GenerationOptions) -> GenerationOptions {
    var options = defaults
    options.maxNewTokens = maxNewTokens
    options.seed = seed ?? UInt64.random(in: 0...UInt64.max)
    if sampling == .model { return options }
    options.repetitionPenalty = repetitionPenalty
    options.doSample = sampling == .drawn
    if options.doSample {
      options.temperature = temperature
      options.topK = topK
      options.topP = topP
      options.minP = minP
    }
    return options
  }
}
