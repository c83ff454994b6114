import BitnetChat
import BitnetEdge
import XCTest

@MainActor
final class ChatModelTests: XCTestCase {
  private var folder: URL!
  private let environment = ProcessInfo.processInfo.environment

  override func setUp() async throws {
    guard environment["BITNET_EDGE_MODEL"] != nil else {
      throw XCTSkip("BITNET_EDGE_MODEL names no exported model")
    }
    folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
  }

  override func tearDown() async throws {
    if let folder { try? FileManager.default.removeItem(at: folder) }
  }

  private var bundled: URL { URL(fileURLWithPath: environment["BITNET_EDGE_MODEL"]!) }

  /// As the app starts: with what was stored.
  private func start(bundled: URL? = nil, isEmpty: Bool = false) async -> ChatModel {
    let model = ChatModel(
      folder: folder, bundled: isEmpty ? nil : bundled ?? self.bundled,
      onnxruntime: environment["BITNET_EDGE_ONNXRUNTIME"].map { URL(fileURLWithPath: $0) })
    await model.open()
    return model
  }

  private func ask(_ text: String, _ model: ChatModel) async {
    model.conversation.draft = text
    model.send()
    while model.phase == .answering { await Task.yield() }
  }

  /// The answer has 1,142 tokens.
  private func sendForLong(_ model: ChatModel, _ text: String = "What is 27 + 5?") {
    model.settings.sampling = .drawn
    (model.settings.temperature, model.settings.topK, model.settings.seed) = (100, 0, 1)
    model.settings.maxNewTokens = 2000
    model.conversation.draft = text
    model.send()
  }

  func testAMessageIsAnswered() async {
    let model = await start()
    XCTAssertEqual(model.phase, .ready)
    XCTAssertFalse(model.canSend)
    await ask("What is 27 + 5?", model)
    XCTAssertEqual(model.conversation.turns.map(\.answer), ["32"])
    XCTAssertEqual(model.conversation.draft, "")
    XCTAssertTrue(model.figures?.line.hasPrefix("3 tokens, ") ?? false)
    XCTAssertNil(model.problem)
  }

  func testEverythingSurvivesARestart() async {
    let first = await start()
    first.settings.systemPrompt = "Be short."
    first.settings.sampling = .drawn
    first.settings.seed = .max
    await first.newChat()
    await ask("What is 27 + 5?", first)
    first.conversation.draft = "half a mess"
    first.save()
    let second = await start()
    XCTAssertEqual(second.conversation, first.conversation)
    XCTAssertEqual(second.conversation.systemPrompt, "Be short.")
    XCTAssertEqual(second.settings, first.settings)
    await ask("What is 3 + 5?", second)
    XCTAssertEqual(second.conversation.turns.count, 2)
  }

  func testAMessageWithoutAnswerIsADraftAgain() async throws {
    var conversation = Conversation()
    conversation.turns = [Conversation.Turn(user: "Hello?")]
    try Storage(folder: folder).save(conversation, "conversation")
    let model = await start()
    XCTAssertEqual(model.conversation.turns, [])
    XCTAssertEqual(model.conversation.draft, "Hello?")
  }

  func testDamagedFilesGiveAnEmptyChat() async throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    for name in ["conversation", "settings"] {
      try Data("{".utf8).write(to: folder.appendingPathComponent(name + ".json"))
    }
    let model = await start()
    XCTAssertEqual(model.phase, .ready)
    XCTAssertEqual(model.conversation, Conversation())
  }

  func testStopKeepsWhatWasSaid() async {
    let model = await start()
    sendForLong(model)
    while model.conversation.turns.last?.answer.isEmpty ?? true { await Task.yield() }
    model.stop()
    while model.phase == .answering { await Task.yield() }
    XCTAssertEqual(model.phase, .ready)
    XCTAssertEqual(model.conversation.turns.count, 1)
    XCTAssertLessThan(model.figures?.tokens ?? 1142, 1142)
  }

  /// Ends answers in a way until one has no token: on a busy machine the engine may be faster.
  private func ends(_ end: (ChatModel) async -> Void) async {
    let text = String(repeating: "What is 27 + 5? ", count: 24)
    for _ in 0..<40 {
      let model = await start()
      model.conversation.draft = ""
      model.settings.sampling = .greedy
      await model.newChat()
      await ask("What is 3 + 5?", model)
      let figures = model.figures
      sendForLong(model, text)
      await end(model)
      while model.phase == .answering { await Task.yield() }
      XCTAssertNil(model.problem)
      XCTAssertFalse(model.conversation.turns.contains { $0.answer.isEmpty })
      let second = await start()
      XCTAssertEqual(second.conversation, model.conversation)
      if model.conversation.turns.count == 2 { continue }
      XCTAssertEqual(model.conversation.turns.map(\.user), ["What is 3 + 5?"])
      XCTAssertEqual(model.conversation.draft, text)
      if model.figures != nil { XCTAssertEqual(model.figures, figures) }
      return
    }
    XCTFail("every answer had a token")
  }

  func testAStopBeforeTheFirstTokenGivesTheMessageBack() async {
    await ends { $0.stop() }
  }

  func testAnotherModelBeforeTheFirstTokenGivesTheMessageBack() async {
    await ends { await $0.open() }
  }

  /// A model whose template takes no system prompt, and not the word "Ben".
  func testAModelThatCannotTakeTheConversationLeavesItThere() async throws {
    guard let narrow = environment["BITNET_EDGE_NARROW_MODEL"] else {
      throw XCTSkip("BITNET_EDGE_NARROW_MODEL names no model")
    }
    for (system, word) in [("Be short.", "Tim"), ("", "Ben"), ("Be short.", "Ben")] {
      let first = await start()
      first.settings.systemPrompt = system
      await first.newChat()
      await ask("\(word) has 84 stamps and buys 5 more. How many does \(word) have?", first)
      let said = first.conversation
      await first.add(URL(fileURLWithPath: narrow))
      XCTAssertEqual(first.phase, .ready)
      XCTAssertEqual(first.conversation, said)
      XCTAssertTrue(first.problem?.hasPrefix("The model does not remember") ?? false)
      first.problem = nil
      await ask("What is 27 + 5?", first)
      XCTAssertEqual(first.conversation.turns.map(\.answer), [said.turns[0].answer, "32"])
      let second = await start()  // as the app starts again, with that model
      XCTAssertEqual(second.conversation, first.conversation)
      second.problem = nil
      await second.choose(second.models[0])
      XCTAssertNil(second.problem)
      XCTAssertEqual(second.conversation, first.conversation)
    }
  }

  func testANewChatWithoutTheSystemPromptSaysSo() async throws {
    guard let narrow = environment["BITNET_EDGE_NARROW_MODEL"] else {
      throw XCTSkip("BITNET_EDGE_NARROW_MODEL names no model")
    }
    let model = await start(bundled: URL(fileURLWithPath: narrow))
    await ask("What is 27 + 5?", model)
    model.settings.systemPrompt = "Be short."
    await model.newChat()
    XCTAssertTrue(model.problem?.hasPrefix("The model goes on without the system prompt") ?? false)
    XCTAssertEqual(model.conversation.turns, [])
    await ask("What is 27 + 5?", model)
    XCTAssertEqual(model.conversation.turns.map(\.answer), ["32"])
  }

  func testANewChatEndsTheAnswerInProgress() async {
    let model = await start()
    sendForLong(model)
    await model.newChat()
    XCTAssertEqual(model.phase, .ready)
    XCTAssertEqual(model.conversation.turns, [])
    model.settings.sampling = .greedy
    await ask("What is 27 + 5?", model)
    XCTAssertEqual(model.conversation.turns.map(\.answer), ["32"])
  }

  func testAMessageThatIsTooLongCanBeChanged() async {
    let model = await start()
    let long = String(repeating: "What is 27 + 5? ", count: 1000)
    await ask(long, model)
    XCTAssertEqual(model.conversation.turns, [])
    XCTAssertEqual(model.conversation.draft, long)
    XCTAssertNotNil(model.problem)
    await ask("What is 27 + 5?", model)
    XCTAssertEqual(model.conversation.turns.map(\.answer), ["32"])
  }

  func testWithoutAModelThereIsASentenceUntilOneIsImported() async {
    let model = await start(isEmpty: true)
    guard case .closed(let sentence) = model.phase else { return XCTFail("\(model.phase)") }
    XCTAssertFalse(sentence.isEmpty)
    await model.newChat()
    await model.add(URL(fileURLWithPath: "/nowhere"))
    XCTAssertNotNil(model.problem)
    model.problem = nil
    await model.add(bundled)
    XCTAssertNil(model.problem)
    XCTAssertEqual(model.phase, .ready)
    await ask("What is 27 + 5?", model)
    await model.remove(model.models[0])
    guard case .closed = model.phase else { return XCTFail("\(model.phase)") }
    XCTAssertEqual(model.conversation.turns.count, 1)
  }

  func testTheChosenModelIsOpenedAgain() async {
    let model = await start()
    await model.add(bundled)
    XCTAssertEqual(model.model, model.models[1])
    let second = await start()
    XCTAssertEqual(second.model, second.models[1])
    await second.choose(second.models[0])
    XCTAssertEqual(second.model?.isBundled, true)
    XCTAssertEqual(second.phase, .ready)
  }
}
