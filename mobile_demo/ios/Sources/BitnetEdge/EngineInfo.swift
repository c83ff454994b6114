import BitnetEngine

/// What an open artifact is and how it is computed.
public struct EngineInfo: Equatable, Sendable {
  /// Of the network: "bitnet".
  public let name: String
  public let head: String
  public let cache: String
  public let target: String
  /// That the custom operators run; empty where there are none.
  public let kernel: String
  public let vocabSize: Int
  public let contextLength: Int
  public let threads: Int
  /// One sentence where the artifact has no conversation; nil where it has one.
  public let whyNoChat: String?

  public var canChat: Bool { whyNoChat == nil }

  init(_ engine: OpaquePointer) {
    var c = bitnet_edge_info()
    bitnet_edge_describe(engine, &c)
    name = String(cString: c.name)
    head = String(cString: c.head)
    cache = String(cString: c.cache)
    target = String(cString: c.target)
    kernel = String(cString: c.kernel)
    vocabSize = Int(c.vocab_size)
    contextLength = Int(c.context_length)
    threads = Int(c.threads)
    whyNoChat = bitnet_edge_why_no_chat(engine).map { String(cString: $0) }
  }
}
