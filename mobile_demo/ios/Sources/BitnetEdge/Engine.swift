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
  private let queue = SerialQueue()

  public nonisolated var unownedExecutor: UnownedSerialExecutor {
    queue.asUnownedSerialExecutor()
  }

  private init(_ handle: Handle) {
    var generation = bitnet_edge_generation()
    bitnet_edge_defaults(handle.pointer, &generation)
    defaults = GenerationOptions(generation)
    info = EngineInfo(handle.pointer)
    self.handle = handle
  }

  /// Opens a folder that `bitnet-onnx export` made. threads: 0 is one for each fast core.
  /// onnxruntime: its library, where the program has none linked in.
  public static func open(
    _ folder: URL, threads: Int = 0, onnxruntime: URL? = nil
  ) async throws -> Engine {
    try await withCheckedThrowingContinuation { continuation in
      DispatchQueue.global(qos: .userInitiated).async {
        continuation.resume(
          with: Result {
            Engine(try Handle(folder, threads: threads, onnxruntime: onnxruntime))
          })
      }
    }
  }

  /// special: the tokenizer's own bos and the like are added, and special tokens in the text are
  /// ids. Without it the text is only text.
  public func encode(_ text: String, special: Bool = false) throws -> [Int32] {
    var count = 0
    var ids = [Int32](repeating: 0, count: text.utf8.count + 8)
    while true {
      let room = ids.count
      try withText(text) { start, bytes in
        try check {
          bitnet_edge_encode(
            handle.pointer, start, bytes, special ? 1 : 0, &ids, room, &count, $0)
        }
      }
      if count <= room { return Array(ids.prefix(count)) }
      ids = [Int32](repeating: 0, count: count)
    }
  }

  /// Special tokens are left out.
  public func decode(_ ids: [Int32]) throws -> String {
    var count = 0
    var text = [CChar](repeating: 0, count: 16 * ids.count + 16)
    while true {
      let room = text.count
      try check {
        bitnet_edge_decode(handle.pointer, ids, ids.count, &text, room, &count, $0)
      }
      if count <= room {
        return text.withUnsafeBytes { String(decoding: $0.prefix(count), as: UTF8.self) }
      }
      text = [CChar](repeating: 0, count: count)
    }
  }

  /// Starts a conversation. What the next one has in common with the last one stays computed.
  public func startChat(system: String? = nil) throws {
    guard let system else {
      return try check { bitnet_edge_chat_start(handle.pointer, nil, 0, $0) }
    }
    try withText(system) { start, bytes in
      try check { bitnet_edge_chat_start(handle.pointer, start, bytes, $0) }
    }
  }

  /// Adds a turn that was saved before.
  public func addTurn(user: String, answer: String) throws {
    try withText(user) { user, userBytes in
      try withText(answer) { answer, answerBytes in
        try check {
          bitnet_edge_chat_add(handle.pointer, user, userBytes, answer, answerBytes, $0)
        }
      }
    }
  }

  /// Answers a message of the conversation. The answer, as far as it was given, becomes a turn.
  public nonisolated func send(_ text: String, options: GenerationOptions? = nil) -> Answer {
    answer(options) { engine, generation, user, stats, error in
      withText(text) { start, bytes in
        bitnet_edge_chat_send(
          engine, start, bytes, generation, Delivery.piece, user, stats, error)
      }
    }
  }

  /// Continues ids, outside of the conversation.
  public nonisolated func generate(_ ids: [Int32], options: GenerationOptions? = nil) -> Answer {
    answer(options) { engine, generation, user, stats, error in
      bitnet_edge_generate(
        engine, ids, ids.count, generation, Delivery.piece, user, stats, error)
    }
  }

  /// Ends the answer in progress; its figures follow in its stream.
  public nonisolated func stop() {
    bitnet_edge_stop(handle.pointer)
  }

  private typealias Call =
    @Sendable (
      OpaquePointer, UnsafePointer<bitnet_edge_generation>, UnsafeMutableRawPointer,
      UnsafeMutablePointer<bitnet_edge_stats>, UnsafeMutablePointer<bitnet_edge_error>
    ) -> bitnet_edge_code

  private nonisolated func answer(
    _ options: GenerationOptions?, _ call: @escaping Call
  ) -> Answer {
    AsyncThrowingStream { continuation in
      let delivery = Delivery(continuation)
      let handle = handle
      continuation.onTermination = { reason in
        if case .cancelled = reason { delivery.cancel(handle) }
      }
      Task { await run(delivery, options ?? defaults, call) }
    }
  }

  private func run(_ delivery: Delivery, _ options: GenerationOptions, _ call: Call) {
    guard delivery.begin() else { return }
    delivery.end(
      Result {
        var stats = bitnet_edge_stats()
        try options.withC { generation in
          let user = Unmanaged.passUnretained(delivery).toOpaque()
          try check { call(handle.pointer, generation, user, &stats, $0) }
        }
        var count = 0
        let ids = bitnet_edge_answer_ids(handle.pointer, &count)
        return AnswerStats(stats, ids: Array(UnsafeBufferPointer(start: ids, count: count)))
      })
  }
}

/// The engine of C, closed with its last user.
final class Handle: @unchecked Sendable {  // `Engine` lets one thread in; any may stop an answer
  let pointer: OpaquePointer

  init(_ folder: URL, threads: Int, onnxruntime: URL?) throws {
    var opened: OpaquePointer?
    let threads = try int32(threads, "threads")
    try withPath(folder) { folder in
      try withPath(onnxruntime) { library in
        var options = bitnet_edge_options(
          folder: folder, onnxruntime: library, operators: nil, threads: threads)
        try check { bitnet_edge_open(&options, &opened, $0) }
      }
    }
    pointer = opened!
  }

  deinit { bitnet_edge_close(pointer) }
}

/// UTF-8 and its length; never NULL.
private func withText<Result>(
  _ text: String, _ body: (UnsafePointer<CChar>, Int) throws -> Result
) rethrows -> Result {
  try text.utf8CString.withUnsafeBufferPointer { try body($0.baseAddress!, $0.count - 1) }
}

private func withPath<Result>(
  _ url: URL?, _ body: (UnsafePointer<CChar>?) throws -> Result
) rethrows -> Result {
  guard let url else { return try body(nil) }
  return try url.withUnsafeFileSystemRepresentation(body)
}
