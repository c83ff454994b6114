import BitnetEdge
import Foundation
import Observation

/// What the screens show and what their buttons do. Knows no view.
@MainActor @Observable
public final class ChatModel {
  public enum Phase: Equatable {
    case opening
    /// The sentence that tells why there is no model to answer.
    case closed(String)
    case ready
    case answering
  }

  public private(set) var phase = Phase.opening
  public private(set) var models: [StoredModel] = []
  public private(set) var info: EngineInfo?
  public private(set) var figures: Figures?
  public private(set) var isImporting = false
  /// For an alert; the screen sets it to nil when it was read.
  public var problem: String?
  public var conversation: Conversation
  public var settings: ChatSettings {
    didSet { if settings != oldValue { store(settings, "settings") } }
  }

  private let library: ModelStore
  private let storage: Storage
  private let onnxruntime: URL?
  private var engine: Engine?
  private var work: Task<Void, Never>?
  private var opens = 0

  /// folder: where the app keeps what it stores. onnxruntime: its library, where none is linked in.
  public init(folder: URL, bundled: URL?, onnxruntime: URL? = nil) {
    library = ModelStore(folder: folder.appendingPathComponent("Models"), bundled: bundled)
    storage = Storage(folder: folder)
    self.onnxruntime = onnxruntime
    settings = storage.load(ChatSettings.self, "settings") ?? ChatSettings()
    conversation = storage.load(Conversation.self, "conversation") ?? Conversation()
    conversation.takeBackUnanswered()
    models = library.models()
  }

  /// The model that is open or is to be opened.
  public var model: StoredModel? {
    models.first { $0.id == settings.model } ?? models.first
  }

  public var canSend: Bool {
    phase == .ready && !conversation.draft.allSatisfy(\.isWhitespace)
  }

  /// Opens the chosen model and goes on with the saved conversation.
  public func open() async {
    opens += 1
    let mine = opens
    await finish()
    (engine, info, figures, phase) = (nil, nil, nil, .opening)
    do {
      guard let model else { throw EngineError(.artifact, Self.noModel) }
      let opened = try await Engine.open(
        model.folder, threads: settings.threads, onnxruntime: onnxruntime)
      if let why = opened.info.whyNoChat { throw EngineError(.unsupported, why) }
      try await resume(opened)
      if mine == opens { (engine, info, phase) = (opened, opened.info, .ready) }
    } catch {
      if mine == opens { phase = .closed(error.localizedDescription) }
    }
  }

  public func send() {
    guard canSend, let engine else { return }
    let text = conversation.draft
    conversation.draft = ""
    conversation.turns.append(Conversation.Turn(user: text))
    phase = .answering
    // Asked for at once, so that a stop is not too early.
    let parts = engine.send(text, options: settings.options(engine.defaults))
    work = Task { await read(parts) }
  }

  /// Ends the answer in progress; what it said stays.
  public func stop() {
    engine?.stop()
  }

  public func newChat() async {
    let draft = conversation.draft
    await finish()
    conversation = Conversation(systemPrompt: settings.systemPrompt)
    conversation.draft = draft
    figures = nil
    save()
    guard let engine else { return }
    do {
      try await resume(engine)
    } catch {
      problem = error.localizedDescription
    }
  }

  public func choose(_ model: StoredModel) async {
    settings.model = model.id
    await open()
  }

  /// Copies an artifact folder into the app and opens it.
  public func add(_ folder: URL) async {
    isImporting = true
    defer { isImporting = false }
    let library = library
    do {
      let added = try await Task.detached { try library.add(folder) }.value
      models = library.models()
      await choose(added)
    } catch {
      problem = error.localizedDescription
    }
  }

  public func remove(_ model: StoredModel) async {
    let wasOpen = model == self.model
    if wasOpen { await finish() }
    if wasOpen { engine = nil }
    do {
      try library.remove(model)
    } catch {
      problem = error.localizedDescription
    }
    models = library.models()
    if wasOpen { await open() }
  }

  /// Keeps the conversation, also where the system may end the app.
  public func save() {
    store(conversation, "conversation")
  }

  private func store(_ value: some Encodable, _ name: String) {
    do {
      try storage.save(value, name)
    } catch {
      problem = "The \(name) cannot be saved: \(error.localizedDescription)"
    }
  }

  /// Goes on with the saved conversation. A model that cannot take it begins a new one, and what
  /// was said stays on the screen for the next model.
  private func resume(_ engine: Engine) async throws {
    do {
      try await engine.resume(conversation)
    } catch {
      let what =
        conversation.turns.isEmpty
        ? "The model goes on without the system prompt" : "The model does not remember what is above"
      problem = "\(what): \(error.localizedDescription)"
      try await engine.startChat()
    }
  }

  private func read(_ parts: Answer) async {
    let last = conversation.turns.count - 1
    var hasIds = false
    do {
      for try await part in parts {
        switch part {
        case .text(let piece): conversation.turns[last].answer += piece
        case .end(let stats):
          hasIds = !stats.ids.isEmpty
          if hasIds { figures = Figures(stats) }
        }
      }
    } catch {
      conversation.turns[last].answer = ""
      problem = error.localizedDescription
    }
    // Then the engine has no such turn: the message can be changed and sent again.
    if !hasIds { conversation.takeBackUnanswered() }
    phase = .ready
    save()
  }

  /// Ends the answer in progress, if there is one, and waits for its end.
  private func finish() async {
    work?.cancel()
    await work?.value
    work = nil
  }

  private static let noModel =
    "This app came without a model; import a folder that bitnet-onnx export made."
}
