import BitnetEngine
import Foundation

/// What the engine refused or failed at: a kind, and one sentence for the user.
public struct EngineError: Error, Equatable, Sendable {
  public enum Kind: Sendable {
    /// An option out of range, or a text that cannot be taken.
    case argument
    /// A file is missing, damaged, or not what the manifest says.
    case artifact
    /// A tokenizer, template or option that this engine does not know.
    case unsupported
    /// ONNX Runtime or the operators failed.
    case runtime
    /// The text does not fit into the context.
    case context
    /// Memory ran out.
    case memory
    /// Another thread computes.
    case busy
  }

  public let kind: Kind
  public let sentence: String

  public init(_ kind: Kind, _ sentence: String) {
    self.kind = kind
    self.sentence = sentence
  }
}

extension EngineError: LocalizedError {
  public var errorDescription: String? { sentence }
}

extension EngineError {
  init(_ code: bitnet_edge_code, _ error: bitnet_edge_error) {
    let sentence = withUnsafeBytes(of: error.sentence) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    self.init(Kind(code), sentence)
  }
}

extension EngineError.Kind {
  init(_ code: bitnet_edge_code) {
    switch code {
    case BITNET_EDGE_ARGUMENT: self = .argument
    case BITNET_EDGE_ARTIFACT: self = .artifact
    case BITNET_EDGE_UNSUPPORTED: self = .unsupported
    case BITNET_EDGE_CONTEXT: self = .context
    case BITNET_EDGE_MEMORY: self = .memory
    case BITNET_EDGE_BUSY: self = .busy
    default: self = .runtime
    }
  }
}

/// Calls a function of the C interface, and throws what it says.
func checked(_ call: (UnsafeMutablePointer<bitnet_edge_error>) -> bitnet_edge_code) throws {
  var error = bitnet_edge_error()
  let code = call(&error)
  if code != BITNET_EDGE_OK { throw EngineError(code, error) }
}
