import BitnetEdge
import XCTest

/// Against the bundled model: BITNET_EDGE_MODEL is its exported folder, and
/// BITNET_EDGE_ONNXRUNTIME the library of ONNX Runtime where none is linked in.
final class EngineTests: XCTestCase {
  private var engine: Engine!

  override func setUp() async throws {
    let environment = ProcessInfo.processInfo.environment
    guard let model = environment["BITNET_EDGE_MODEL"] else {
      throw XCTSkip("BITNET_EDGE_MODEL names no exported model")
    }
    let onnxruntime = environment["BITNET_EDGE_ONNXRUNTIME"].map { URL(fileURLWithPath: $0) }
    engine = try await Engine.open(URL(fileURLWithPath: model), onnxruntime: onnxruntime)
  }

  private func long(_ tokens: Int) -> GenerationOptions {
    var options = engine.defaults
    options.maxNewTokens = tokens
    options.doSample = true
    (options.temperature, options.topK, options.seed) = (100, 0, 1)  // 1,142 tokens
    return options
  }

  func testAnAnswerIsItsPiecesAndItsIds() async throws {
    let (text, stats) = try await read(engine.send("What is 27 + 5?"))
    XCTAssertEqual(text, "32")
    XCTAssertEqual(stats.finish, .stop)
    let decoded = try await engine.decode(stats.ids)
    XCTAssertEqual(decoded, text)
    XCTAssertGreaterThan(stats.promptTokens, 0)
  }

  func testAConversationGoesOnAfterARestart() async throws {
    let (first, _) = try await read(engine.send("What is 27 + 5?"))
    let (_, goesOn) = try await read(engine.send("What is 3 + 5?"))
    try await engine.startChat()
    try await engine.addTurn(user: "What is 27 + 5?", answer: first)
    let (_, restored) = try await read(engine.send("What is 3 + 5?"))
    XCTAssertEqual(restored.ids, goesOn.ids)
    XCTAssertEqual(restored.promptTokens, goesOn.promptTokens)
    XCTAssertGreaterThan(restored.reusedTokens, 0)
  }

  func testTextsHoldAnything() async throws {
    for text in ["", "a\0b", "日本語 🧑‍🚀", "e\u{301}", String(repeating: "x", count: 5000)] {
      let ids = try await engine.encode(text)
      let decoded = try await engine.decode(ids)
      XCTAssertEqual(Array(decoded.utf8), Array(text.utf8))
    }
    let empty = try await engine.decode([])
    XCTAssertEqual(empty, "")
  }

  func testStopEndsTheAnswerAndItsFiguresFollow() async throws {
    var stats: AnswerStats?
    for try await part in engine.send("What is 27 + 5?", options: long(1000)) {
      if case .text = part { engine.stop() }
      if case .end(let end) = part { stats = end }
    }
    XCTAssertEqual(stats?.finish, .stopped)
    XCTAssertLessThan(stats?.ids.count ?? 1000, 1000)
  }

  func testAStopRightAfterSendEndsTheAnswer() async throws {
    let before = engine.send("What is 27 + 5?", options: long(1000))
    let waits = engine.send("What is 27 + 5?", options: long(1000))
    engine.stop()
    for answer in [before, waits] {
      let (_, stats) = try await read(answer)
      XCTAssertEqual(stats.finish, .stopped)
      XCTAssertLessThanOrEqual(stats.ids.count, 1)
    }
    engine.stop()  // of nothing
    try await engine.startChat()
    let (text, _) = try await read(engine.send("What is 27 + 5?"))
    XCTAssertEqual(text, "32")
  }

  func testAnAnswerThatWasStoppedBeforeItBeganIsNoTurn() async throws {
    let (_, alone) = try await read(engine.send("What is 27 + 5?"))
    try await engine.startChat()
    let busy = engine.generate(try await engine.encode("What is", special: true))
    let waits = engine.send("What is 3 + 5?")
    engine.stop()
    _ = try await read(busy)
    let (text, stats) = try await read(waits)
    XCTAssertEqual(text, "")
    if stats.ids.isEmpty {
      let (_, next) = try await read(engine.send("What is 27 + 5?"))
      XCTAssertEqual(next.promptTokens, alone.promptTokens)
    }
  }

  func testFullContextsHaveThreeWays() async throws {
    XCTAssertEqual(engine.defaults.whenFull, .forgets)
    let question = String(repeating: "Which is bigger, 53 or 62? ", count: 8)
    for _ in 0..<8 { try await engine.addTurn(user: question, answer: "62") }
    var options = engine.defaults
    options.whenFull = .refuses
    let wrong = options
    let engine = engine!
    let refused = await kind { _ = try await read(engine.send("What is 27 + 5?", options: wrong)) }
    XCTAssertEqual(refused, .context)
    options.whenFull = .ends
    let (_, stats) = try await read(engine.send("What is 27 + 5?", options: options))
    XCTAssertGreaterThan(stats.forgottenTurns, 0)
  }

  func testAReaderThatLeavesEndsTheAnswer() async throws {
    for try await _ in engine.send("What is 27 + 5?", options: long(1000)) { break }
    try await engine.startChat()  // waits for the answer, which would take very long
    let (text, _) = try await read(engine.send("What is 27 + 5?"))
    XCTAssertEqual(text, "32")
  }

  func testACancelledTaskEndsTheAnswer() async throws {
    let engine = engine!
    let options = long(1000)
    let task = Task {
      for try await _ in engine.send("What is 27 + 5?", options: options) {}
    }
    try await Task.sleep(nanoseconds: 20_000_000)
    task.cancel()
    _ = await task.result
    try await engine.startChat()
  }

  func testAnswersAtOnceWaitForEachOther() async throws {
    let engine = engine!
    let ids = try await engine.encode("What is", special: true)
    async let one = read(engine.generate(ids))
    async let other = read(engine.generate(ids))
    let (first, second) = try await (one, other)
    XCTAssertEqual(first.1.ids, second.1.ids)
  }

  func testOptionsReachTheEngine() async throws {
    var options = long(20)
    options.seed = 7
    let (_, one) = try await read(engine.send("Say something", options: options))
    try await engine.startChat()
    let (_, same) = try await read(engine.send("Say something", options: options))
    try await engine.startChat()
    options.seed = 8
    let (_, other) = try await read(engine.send("Say something", options: options))
    XCTAssertEqual(one.ids, same.ids)
    XCTAssertNotEqual(one.ids, other.ids)
    XCTAssertLessThanOrEqual(one.ids.count, 20)
    try await engine.startChat()
    var stopping = engine.defaults
    stopping.stopStrings = ["zzz", "2"]
    let (text, stats) = try await read(engine.send("What is 27 + 5?", options: stopping))
    XCTAssertEqual(text, "3")
    XCTAssertEqual(stats.finish, .stopString)
  }

  func testErrorsHaveAKindAndASentence() async throws {
    let nowhere = URL(fileURLWithPath: "/nowhere")
    let engine = engine!
    let artifact = await kind { _ = try await Engine.open(nowhere) }
    XCTAssertEqual(artifact, .artifact)
    XCTAssertThrowsError(try Engine.check(nowhere))
    let threads = await kind { _ = try await Engine.open(nowhere, threads: .max) }
    XCTAssertEqual(threads, .argument)
    let text = String(repeating: "What is 27 + 5? ", count: 1000)
    let context = await kind { _ = try await read(engine.send(text)) }
    XCTAssertEqual(context, .context)
    for change: (inout GenerationOptions) -> Void in [
      { $0.topP = -1 }, { $0.maxNewTokens = -1 }, { $0.maxNewTokens = .max },
      { $0.stopStrings = ["a\0b"] },
      {
        $0.doSample = true
        $0.temperature = .nan
      },
    ] {
      var options = engine.defaults
      change(&options)
      let wrong = options
      let argument = await kind { _ = try await read(engine.send("Hi", options: wrong)) }
      XCTAssertEqual(argument, .argument)
    }
    let (answer, _) = try await read(engine.send("What is 27 + 5?"))
    XCTAssertEqual(answer, "32")
  }
}

private func read(_ answer: Answer) async throws -> (String, AnswerStats) {
  var text = ""
  for try await part in answer {
    switch part {
    case .text(let piece): text += piece
    case .end(let stats): return (text, stats)
    }
  }
  throw CancellationError()
}

private func kind(_ body: () async throws -> Void) async -> EngineError.Kind? {
  do {
    try await body()
    return nil
  } catch {
    XCTAssertFalse(error.localizedDescription.isEmpty)
    return (error as? EngineError)?.kind
  }
}
