import Dispatch

/// Runs an actor on a queue of its own: an answer takes seconds, for which it must not hold one of
/// the few threads that all tasks share.
final class SerialQueue: SerialExecutor {
  private let queue = DispatchQueue(label: "bitnet-edge", qos: .userInitiated)

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    queue.async { job.runSynchronously(on: self.asUnownedSerialExecutor()) }
  }

  func asUnownedSerialExecutor() -> UnownedSerialExecutor {
    UnownedSerialExecutor(ordinary: self)
  }
}
