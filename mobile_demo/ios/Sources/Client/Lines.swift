import BitnetEdge
import Foundation

/// The lines of stdin, as Python's and the program for boards read them: they end with LF, CR or
/// both, the first may begin with a byte order mark, and bytes that are no UTF-8 are refused.
struct Lines {
  private var waiting: [UInt8] = []
  private var isOver = false
  private var number = 0

  /// The next line that is not blank; nil at the end.
  mutating func next() throws -> String? {
    while let bytes = try line() {
      let text = try utf8(number == 1 ? bytes.withoutMark : bytes, of: "line \(number) of stdin")
      if !isBlank(text) { return text }
    }
    return nil
  }

  private mutating func line() throws -> ArraySlice<UInt8>? {
    var looked = 0
    while true {
      if let end = waiting[looked...].firstIndex(where: { $0 == 10 || $0 == 13 }) {
        if waiting[end] == 13, end + 1 == waiting.count, !isOver, isatty(STDIN_FILENO) == 0 {
          try fill()  // perhaps with the LF
          continue
        }
        let isPair = waiting[end] == 13 && end + 1 < waiting.count && waiting[end + 1] == 10
        return take(end, and: isPair ? 2 : 1)
      }
      looked = waiting.count
      if isOver { return waiting.isEmpty ? nil : take(waiting.count, and: 0) }
      try fill()
    }
  }

  private mutating func take(_ count: Int, and ending: Int) -> ArraySlice<UInt8> {
    let line = Array(waiting[..<count])[...]
    waiting.removeFirst(count + ending)
    number += 1
    return line
  }

  private mutating func fill() throws {
    guard waiting.count <= Self.longest else {
      throw EngineError(
        .argument,
        "line \(number + 1) of stdin has more than \(Self.longest) bytes, expected fewer")
    }
    var piece = [UInt8](repeating: 0, count: 65536)
    let count = read(STDIN_FILENO, &piece, piece.count)
    if count < 0, errno == EINTR { return }
    guard count >= 0 else {
      throw EngineError(.argument, "stdin cannot be read: \(String(cString: strerror(errno)))")
    }
    if count == 0 { isOver = true }
    waiting += piece[..<count]
  }

  private static let longest = 1 << 24
}

func isBlank(_ text: String) -> Bool {
  text.utf8.allSatisfy { $0 == 32 || 9...13 ~= $0 }
}

/// Swift's own strings would have U+FFFD in place of what is no UTF-8.
func utf8(_ bytes: some Sequence<UInt8>, of source: String) throws -> String {
  let bytes = Array(bytes)
  let text = String(decoding: bytes, as: UTF8.self)
  if let place = zip(text.utf8, bytes).enumerated().first(where: { $1.0 != $1.1 })?.offset {
    let found = String(bytes[place], radix: 16)
    throw EngineError(
      .argument, "\(source) holds the byte 0x\(found) at offset \(place), expected UTF-8 text")
  }
  return text
}

extension ArraySlice<UInt8> {
  fileprivate var withoutMark: ArraySlice<UInt8> {
    starts(with: [0xEF, 0xBB, 0xBF]) ? dropFirst(3) : self
  }
}
