import Foundation

/// Values in one file each. A file that cannot be read counts as missing: a user who updates the
/// app, or whose device lost power, gets an empty chat and no error that stays.
public struct Storage: Sendable {
  public let folder: URL

  public init(folder: URL) {
    self.folder = folder
  }

  public func load<Value: Decodable>(_ type: Value.Type, _ name: String) -> Value? {
    guard let data = try? Data(contentsOf: file(name)) else { return nil }
    return try? JSONDecoder().decode(type, from: data)
  }

  public func save(_ value: some Encodable, _ name: String) throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try JSONEncoder().encode(value).write(to: file(name), options: .atomic)
  }

  private func file(_ name: String) -> URL {
    folder.appendingPathComponent(name + ".json")
  }
}
