import BitnetEngine
import Foundation

/// A part of an answer: pieces of text, and at last its figures.
public enum AnswerPart: Equatable, Sendable {
  case text(String)
  case end(AnswerStats)
}

/// An answer that is being computed. To cancel the task that reads it ends the answer.
public typealias Answer = AsyncThrowingStream<AnswerPart, any Error>

/// The figures of an answer.
public struct AnswerStats: Equatable, Sendable {
  public enum Finish: String, Codable, Sendable {
    /// An end-of-sequence token.
    case stop
    case stopString
    /// maxNewTokens, or the context is full.
    case length
    /// By the user.
    case stopped
  }

  public let finish: Finish
  /// Of the answer, the end-of-sequence token included.
  public let ids: [Int32]
  public let promptTokens: Int
  /// Of the prompt, in the cache already.
  public let reusedTokens: Int
  /// Turns of the conversation that the context had no room for.
  public let forgottenTurns: Int
  /// How often the answer filled the context and went on.
  public let shifts: Int
  /// From the call to the first token.
  public let firstSeconds: Double
  /// From the first token to the last one.
  public let decodeSeconds: Double

  /// Of those after the first one; nil where there are none.
  public var tokensPerSecond: Double? {
    guard ids.count > 1, decodeSeconds > 0 else { return nil }
    return Double(ids.count - 1) / decodeSeconds
  }

  /// Of an answer that was stopped before it began.
  static var stopped: AnswerStats {
    var c = bitnet_edge_stats()
    c.finish = BITNET_EDGE_FINISH_STOPPED
    return AnswerStats(c, ids: [])
  }

  init(_ c: bitnet_edge_stats, ids: [Int32]) {
    switch c.finish {
    case BITNET_EDGE_FINISH_STOP: finish = .stop
    case BITNET_EDGE_FINISH_STOP_STRING: finish = .stopString
    case BITNET_EDGE_FINISH_LENGTH: finish = .length
    default: finish = .stopped
    }
    self.ids = ids
    promptTokens = Int(c.prompt_ids)
    reusedTokens = Int(c.reused_ids)
    forgottenTurns = Int(c.forgotten)
    shifts = Int(c.shifts)
    firstSeconds = c.first_seconds
    decodeSeconds = c.decode_seconds
  }
}

/// An answer as the C interface sees it: where its pieces go, and whether it was stopped.
final class Delivery: @unchecked Sendable {  // `lock` guards its state
  private enum State { case waiting, running, over }

  private let continuation: Answer.Continuation
  private let lock = NSLock()
  private var state = State.waiting
  private var stopped = false

  init(_ continuation: Answer.Continuation) {
    self.continuation = continuation
  }

  /// Returns whether the answer is still wanted.
  func begin() -> Bool {
    lock.withLock {
      if !stopped { state = .running }
      return !stopped
    }
  }

  /// Ends the answer, and no other one; also one that has not begun.
  func stop(_ engine: Handle) {
    lock.withLock {
      stopped = true
      if state == .running { engine.stop() }
    }
  }

  func end(_ result: Result<AnswerStats, any Error>) {
    lock.withLock { state = .over }
    switch result {
    case .success(let stats):
      continuation.yield(.end(stats))
      continuation.finish()
    case .failure(let error):
      continuation.finish(throwing: error)
    }
  }

  /// Returns what the engine wants to know: 0 to go on.
  private func take(_ text: UnsafePointer<CChar>?, _ bytes: Int) -> Int32 {
    let piece = UnsafeRawBufferPointer(start: text, count: bytes)
    if !piece.isEmpty { continuation.yield(.text(String(decoding: piece, as: UTF8.self))) }
    return lock.withLock { stopped ? 1 : 0 }
  }

  static let piece: bitnet_edge_piece = { text, bytes, user in
    Unmanaged<Delivery>.fromOpaque(user!).takeUnretainedValue().take(text, bytes)
  }
}

/// The answers that were asked for and are not over.
final class Deliveries: @unchecked Sendable {  // `lock` guards them
  private let lock = NSLock()
  private var open: [ObjectIdentifier: Delivery] = [:]

  func add(_ delivery: Delivery) {
    lock.withLock { open[ObjectIdentifier(delivery)] = delivery }
  }

  func remove(_ delivery: Delivery) {
    _ = lock.withLock { open.removeValue(forKey: ObjectIdentifier(delivery)) }
  }

  func stop(_ engine: Handle) {
    for delivery in lock.withLock({ Array(open.values) }) { delivery.stop(engine) }
  }
}
