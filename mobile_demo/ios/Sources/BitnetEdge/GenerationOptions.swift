import BitnetEngine

/// Options of an answer, under transformers' names and with their meanings. `Engine.defaults` has
/// what the artifact asks for.
public struct GenerationOptions: Codable, Equatable, Sendable {
  /// What an answer does when it fills the context.
  public enum WhenFull: String, CaseIterable, Codable, Sendable {
    /// It ends there, as in Python.
    case ends
    /// It forgets the middle of the text, and goes on.
    case forgets
    /// It ends there, and a conversation that is longer is refused.
    case refuses
  }

  public var maxNewTokens: Int
  public var doSample: Bool
  public var temperature: Double
  public var topK: Int
  public var topP: Double
  public var minP: Double
  public var repetitionPenalty: Double
  public var seed: UInt64
  public var stopStrings: [String]
  public var whenFull: WhenFull

  public init(
    maxNewTokens: Int, doSample: Bool, temperature: Double, topK: Int, topP: Double, minP: Double,
    repetitionPenalty: Double, seed: UInt64, stopStrings: [String], whenFull: WhenFull
  ) {
    self.maxNewTokens = maxNewTokens
    self.doSample = doSample
    self.temperature = temperature
    self.topK = topK
    self.topP = topP
    self.minP = minP
    self.repetitionPenalty = repetitionPenalty
    self.seed = seed
    self.stopStrings = stopStrings
    self.whenFull = whenFull
  }
}

extension GenerationOptions {
  init(_ c: bitnet_edge_generation) {
    maxNewTokens = Int(c.max_new_tokens)
    doSample = c.do_sample != 0
    temperature = c.temperature
    topK = Int(c.top_k)
    topP = c.top_p
    minP = c.min_p
    repetitionPenalty = c.repetition_penalty
    seed = c.seed
    stopStrings = (0..<c.stop_string_count).compactMap { index in
      c.stop_strings[index].map { String(cString: $0) }
    }
    whenFull = WhenFull.allCases.first { $0.c == c.when_full } ?? .forgets
  }

  /// Gives `body` these options as C has them. They live as long as the call.
  func withC<Result>(
    _ body: (UnsafePointer<bitnet_edge_generation>) throws -> Result
  ) throws -> Result {
    if let string = stopStrings.first(where: { $0.utf8.contains(0) }) {
      throw EngineError(.argument, "the stop string \(string.debugDescription) holds NUL")
    }
    var c = bitnet_edge_generation()
    c.max_new_tokens = try int32(maxNewTokens, "maxNewTokens")
    c.do_sample = doSample ? 1 : 0
    c.temperature = temperature
    c.top_k = try int32(topK, "topK")
    c.top_p = topP
    c.min_p = minP
    c.repetition_penalty = repetitionPenalty
    c.seed = seed
    c.when_full = whenFull.c
    var strings: [UnsafePointer<CChar>?] = []
    let copies = stopStrings.map { $0.utf8CString }
    return try withPointers(to: copies[...], &strings) { pointers in
      try pointers.withUnsafeBufferPointer { buffer in
        c.stop_strings = buffer.baseAddress
        c.stop_string_count = buffer.count
        return try body(&c)
      }
    }
  }
}

extension GenerationOptions.WhenFull {
  fileprivate var c: Int32 {
    switch self {
    case .ends: Int32(BITNET_EDGE_FULL_ENDS.rawValue)
    case .forgets: Int32(BITNET_EDGE_FULL_FORGETS.rawValue)
    case .refuses: Int32(BITNET_EDGE_FULL_REFUSES.rawValue)
    }
  }
}

func int32(_ value: Int, _ name: String) throws -> Int32 {
  guard let narrow = Int32(exactly: value) else {
    throw EngineError(.argument, "\(name) is \(value), expected at most \(Int32.max)")
  }
  return narrow
}

private func withPointers<Result>(
  to copies: ArraySlice<ContiguousArray<CChar>>,
  _ pointers: inout [UnsafePointer<CChar>?],
  _ body: ([UnsafePointer<CChar>?]) throws -> Result
) rethrows -> Result {
  guard let first = copies.first else { return try body(pointers) }
  return try first.withUnsafeBufferPointer { buffer in
    pointers.append(buffer.baseAddress)
    return try withPointers(to: copies.dropFirst(), &pointers, body)
  }
}
