import BitnetEngine
import Foundation

/// An open artifact, its session and one conversation. Calls wait for each other.
///
///     let engine = try await Engine.open(folder)
///     for try await part in engine.send("What is 27 + 5?") {
///       if case .text(let piece) = part { print(piece, terminator: "") }
///     }
public actor Engine {
  public nonisolated let info: EngineInfo
  /// What the artifact's generation_config.json asks for.
  public nonisolated let defaults: GenerationOptions

  private let handle: Handle
  private let deliveries = Deliveries()
  private let queue = SerialQueue()

  public nonisolated var unownedExecutor: UnownedSerialExecutor {
    queue.asUnownedSerialExecutor()
  }

  private init(_ handle: Handle) {
    info = handle.info
    defaults = handle.defaults
    self.handle = handle
  }

  /// Opens a folder that `bitnet-onnx export` made. threads: 0 is one for each fast core.
  /// onnxruntime: its library, where the program has none linked in.
  public static func open(
    _ folder: URL, threads: Int = 0, onnxruntime: URL? = nil
  ) async throws -> Engine {
    try await withCheckedThrowingContinuation { continuation in
      DispatchQueue.global(qos: .userInitiated).async {
        let opened = Result {
          Engine(try Handle(folder, threads: threads, onnxruntime: onnxruntime))
        }
        continuation.resume(with: opened)
      }
    }
  }

  /// Compares every file of a folder with the manifest's sha256, for a folder that was just copied.
  public static func check(_ folder: URL) throws {
    try withPath(folder) { folder in try checked { bitnet_edge_check(folder, $0) } }
  }

  /// special: the tokenizer's own bos and the like are added, and special tokens in the text are
  /// ids. Without it the text is only text.
  public func encode(_ text: String, special: Bool = false) throws -> [Int32] {
    try handle.encode(text, special: special)
  }

  /// Special tokens are left out.
  public func decode(_ ids: [Int32]) throws -> String {
    try handle.decode(ids)
  }

  /// Starts a conversation. What the next one has in common with the last one stays computed.
  public func startChat(system: String? = nil) throws {
    try handle.startChat(system: system)
  }

  /// Adds a turn that was saved before.
  public func addTurn(user: String, answer: String) throws {
    try handle.addTurn(user: user, answer: answer)
  }

  /// Answers a message of the conversation. The answer, as far as it was given, becomes a turn.
  public nonisolated func send(_ text: String, options: GenerationOptions? = nil) -> Answer {
    answer(.message(text), options)
  }

  /// Continues ids, outside of the conversation.
  public nonisolated func generate(_ ids: [Int32], options: GenerationOptions? = nil) -> Answer {
    answer(.ids(ids), options)
  }

  /// Ends the answer in progress and those that wait for it; figures follow in their streams.
  public nonisolated func stop() {
    deliveries.stop(handle)
  }

  private nonisolated func answer(_ prompt: Prompt, _ options: GenerationOptions?) -> Answer {
    AsyncThrowingStream { continuation in
      let delivery = Delivery(continuation)
      let handle = handle
      deliveries.add(delivery)
      continuation.onTermination = { reason in
        if case .cancelled = reason { delivery.stop(handle) }
      }
      Task { await run(prompt, options ?? defaults, delivery) }
    }
  }

  private func run(_ prompt: Prompt, _ options: GenerationOptions, _ delivery: Delivery) {
    // The engine does not hear of a stop before the call.
    let result = Result {
      try delivery.begin() ? handle.answer(prompt, options, delivery) : .stopped
    }
    deliveries.remove(delivery)
    delivery.end(result)
  }
}
