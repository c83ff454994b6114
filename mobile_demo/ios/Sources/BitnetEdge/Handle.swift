import BitnetEngine
import Foundation

/// The engine of C, closed with its last user. Knows pointers; `Engine` sees to it that one thread
/// at a time calls it. Any thread may call `stop`.
final class Handle: @unchecked Sendable {
  private let engine: OpaquePointer

  init(_ folder: URL, threads: Int, onnxruntime: URL?) throws {
    var opened: OpaquePointer?
    let threads = try int32(threads, "threads")
    try withPath(folder) { folder in
      try withPath(onnxruntime) { library in
        var options = bitnet_edge_options(
          folder: folder, onnxruntime: library, operators: nil, threads: threads)
        try checked { bitnet_edge_open(&options, &opened, $0) }
      }
    }
    engine = opened!
  }

  deinit { bitnet_edge_close(engine) }

  var info: EngineInfo { EngineInfo(engine) }

  var defaults: GenerationOptions {
    var generation = bitnet_edge_generation()
    bitnet_edge_defaults(engine, &generation)
    return GenerationOptions(generation)
  }

  func encode(_ text: String, special: Bool) throws -> [Int32] {
    var count = 0
    var ids = [Int32](repeating: 0, count: text.utf8.count + 8)
    while true {
      let room = ids.count
      try withText(text) { start, bytes in
        try checked {
          bitnet_edge_encode(engine, start, bytes, special ? 1 : 0, &ids, room, &count, $0)
        }
      }
      if count <= room { return Array(ids.prefix(count)) }
      ids = [Int32](repeating: 0, count: count)
    }
  }

  func decode(_ ids: [Int32]) throws -> String {
    var count = 0
    var text = [CChar](repeating: 0, count: 16 * ids.count + 16)
    while true {
      let room = text.count
      try checked { bitnet_edge_decode(engine, ids, ids.count, &text, room, &count, $0) }
      if count <= room {
        return text.withUnsafeBytes { String(decoding: $0.prefix(count), as: UTF8.self) }
      }
      text = [CChar](repeating: 0, count: count)
    }
  }

  func startChat(system: String?) throws {
    guard let system else {
      return try checked { bitnet_edge_chat_start(engine, nil, 0, $0) }
    }
    try withText(system) { start, bytes in
      try checked { bitnet_edge_chat_start(engine, start, bytes, $0) }
    }
  }

  func addTurn(user: String, answer: String) throws {
    try withText(user) { user, userBytes in
      try withText(answer) { answer, answerBytes in
        try checked { bitnet_edge_chat_add(engine, user, userBytes, answer, answerBytes, $0) }
      }
    }
  }

  func answer(
    _ prompt: Prompt, _ options: GenerationOptions, _ delivery: Delivery
  ) throws -> AnswerStats {
    var stats = bitnet_edge_stats()
    let user = Unmanaged.passUnretained(delivery).toOpaque()
    try options.withC { generation in
      switch prompt {
      case .message(let text):
        try withText(text) { start, bytes in
          try checked {
            bitnet_edge_chat_send(
              engine, start, bytes, generation, Delivery.piece, user, &stats, $0)
          }
        }
      case .ids(let ids):
        try checked {
          bitnet_edge_generate(
            engine, ids, ids.count, generation, Delivery.piece, user, &stats, $0)
        }
      }
    }
    var count = 0
    let ids = bitnet_edge_answer_ids(engine, &count)
    return AnswerStats(stats, ids: Array(UnsafeBufferPointer(start: ids, count: count)))
  }

  func stop() {
    bitnet_edge_stop(engine)
  }
}

/// What is answered: a message of the conversation, or ids outside of it.
enum Prompt: Sendable {
  case message(String)
  case ids([Int32])
}

/// UTF-8 and its length; never NULL.
private func withText<Result>(
  _ text: String, _ body: (UnsafePointer<CChar>, Int) throws -> Result
) rethrows -> Result {
  try text.utf8CString.withUnsafeBufferPointer { try body($0.baseAddress!, $0.count - 1) }
}

func withPath<Result>(
  _ url: URL?, _ body: (UnsafePointer<CChar>?) throws -> Result
) rethrows -> Result {
  guard let url else { return try body(nil) }
  return try url.withUnsafeFileSystemRepresentation(body)
}
