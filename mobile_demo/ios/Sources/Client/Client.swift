import BitnetEdge
import Foundation

/// The package without a screen, on a Mac or on Linux.
@main
struct Client {
  private let arguments: Arguments
  private let engine: Engine

  static func main() async {
    do {
      let arguments = try Arguments(words())
      guard let artifact = arguments.artifact, !arguments.help else {
        return write(Arguments.help)
      }
      let engine = try await Engine.open(
        artifact, threads: arguments.threads, onnxruntime: arguments.onnxruntime)
      try await Client(arguments: arguments, engine: engine).run()
    } catch {
      say("error: \(error.localizedDescription)")
      exit(2)
    }
  }

  /// What was typed after the program's name.
  private static func words() throws -> [String] {
    try (1..<max(1, Int(CommandLine.argc))).map { number in
      let word = CommandLine.unsafeArgv[number]!
      let bytes = UnsafeRawBufferPointer(start: word, count: strlen(word))
      return try utf8(bytes, of: "argument \(number)")
    }
  }

  private func run() async throws {
    try await engine.startChat(system: arguments.system)
    if let question = arguments.question {
      if isBlank(question) {
        throw EngineError(.argument, "the prompt is empty, expected some text")
      }
      return try await answer(question)
    }
    let isChat = isatty(STDIN_FILENO) != 0
    var lines = Lines()
    while let line = try lines.next() {
      if !isChat { try await engine.startChat(system: arguments.system) }
      try await answer(line)
    }
  }

  private func answer(_ question: String) async throws {
    var text = ""
    var end: AnswerStats?
    for try await part in engine.send(question, options: arguments.options(engine.defaults)) {
      switch part {
      case .text(let piece):
        text += piece
        if !arguments.json { write(piece) }
      case .end(let stats): end = stats
      }
    }
    guard let end else { return }
    if arguments.json {
      let record = Record(finish: end.finish, ids: end.ids, text: text)
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      write(String(decoding: try encoder.encode(record), as: UTF8.self))
    }
    write("\n")
    if arguments.stats { say(Figures(end).line) }
  }

  private struct Record: Encodable {
    let finish: AnswerStats.Finish
    let ids: [Int32]
    let text: String
  }
}

private func write(_ text: String) {
  FileHandle.standardOutput.write(Data(text.utf8))
}

private func say(_ text: String) {
  FileHandle.standardError.write(Data((text + "\n").utf8))
}
