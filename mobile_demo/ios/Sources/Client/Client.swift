import BitnetEdge
import Foundation

/// The package without a screen, on a Mac or on Linux.
@main
struct Client {
  private let arguments: Arguments
  private let engine: Engine

  static func main() async {
    do {
      let arguments = try Arguments(Array(CommandLine.arguments.dropFirst()))
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

  private func run() async throws {
    try await engine.startChat(system: arguments.system)
    if let question = arguments.question { return try await answer(question) }
    let isChat = isatty(STDIN_FILENO) != 0
    while let line = readLine() {
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
