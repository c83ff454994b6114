import BitnetEdge
import Foundation

/// The command line.
struct Arguments {
  var artifact: URL?
  var question: String?
  var system: String?
  var onnxruntime: URL?
  var threads = 0
  var json = false
  var stats = false
  var help = false
  private var changes: [(inout GenerationOptions) -> Void] = []

  static let help = """
    usage: bitnet-edge-swift ARTIFACT [QUESTION] [OPTION]...

    Answers from a folder that `bitnet-onnx export` made: the question, or each line of stdin. In a
    terminal the lines are one chat, else each is a question of its own.

      --system TEXT            the system prompt; default: none
      --threads N              default: one for each fast core
      --onnxruntime FILE       ONNX Runtime's library; default: beside the program, or the system's
      --json                   print each answer as a JSON object on one line: text, ids, finish
      --stats                  print speed and memory to stderr

    generation; names and meanings are those of transformers, the defaults are the artifact's
      --max-new-tokens N       end an answer after this many tokens
      --temperature T          above 0: sample, with logits divided by this; 0: greedy
      --top-k K, --top-p P, --min-p P
                               when sampling: which tokens are kept
      --repetition-penalty X   above 1: tokens that occurred are less likely
      --seed N                 when sampling: the same seed gives the same text

    Exit codes: 0; 2 after a mistake, with one sentence on stderr.

    """

  init(_ words: [String]) throws {
    var words = words[...]
    while let word = words.popFirst() {
      if word.hasPrefix("--") {
        try take(option: word, &words)
      } else if artifact == nil {
        artifact = URL(fileURLWithPath: word)
      } else if question == nil {
        question = word
      } else {
        throw Self.wrong(
          "'\(word)' comes after a question, expected one question in quotation marks")
      }
    }
    if artifact == nil, !help { throw Self.wrong("the artifact is missing, expected its folder") }
  }

  func options(_ defaults: GenerationOptions) -> GenerationOptions {
    changes.reduce(into: defaults) { options, change in change(&options) }
  }

  private mutating func take(option: String, _ words: inout ArraySlice<String>) throws {
    switch option {
    case "--help": help = true
    case "--json": json = true
    case "--stats": stats = true
    case "--system": system = try value(option, &words)
    case "--onnxruntime": onnxruntime = URL(fileURLWithPath: try value(option, &words))
    case "--threads": threads = try number(option, &words)
    case "--max-new-tokens": try change(\.maxNewTokens, number(option, &words))
    case "--top-k": try change(\.topK, number(option, &words))
    case "--top-p": try change(\.topP, number(option, &words))
    case "--min-p": try change(\.minP, number(option, &words))
    case "--repetition-penalty": try change(\.repetitionPenalty, number(option, &words))
    case "--seed": try change(\.seed, number(option, &words))
    case "--temperature":
      let temperature: Double = try number(option, &words)
      change(\.doSample, temperature != 0)
      if temperature != 0 { change(\.temperature, temperature) }
    default: throw Self.wrong("unrecognized arguments: \(option)")
    }
  }

  private mutating func change<Value>(
    _ path: WritableKeyPath<GenerationOptions, Value>, _ value: Value
  ) {
    changes.append { $0[keyPath: path] = value }
  }

  private func value(_ option: String, _ words: inout ArraySlice<String>) throws -> String {
    guard let word = words.first, !word.hasPrefix("--") else {
      throw Self.wrong("\(option) has no value, expected one after it")
    }
    words.removeFirst()
    return word
  }

  private func number<Value: LosslessStringConvertible>(
    _ option: String, _ words: inout ArraySlice<String>
  ) throws -> Value {
    let word = try value(option, &words)
    guard let value = Value(word) else {
      let kind = Value.self == Double.self ? "a number" : "an integer"
      throw Self.wrong("\(option) is '\(word)', expected \(kind)")
    }
    return value
  }

  private static func wrong(_ sentence: String) -> EngineError {
    EngineError(.argument, sentence + "; see: bitnet-edge-swift --help")
  }
}
