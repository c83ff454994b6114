import BitnetEdge
import Foundation

/// A model that the app can open.
public struct StoredModel: Hashable, Identifiable, Sendable {
  public let id: String
  public let name: String
  public let folder: URL
  public let bytes: Int64
  public let isBundled: Bool
}

/// The model that came with the app, and copies of those that the user imported.
public struct ModelStore: Sendable {
  private static let manifest = "manifest.json"
  private static let unfinished = "unfinished-"

  private let folder: URL
  private let bundled: URL?

  public init(folder: URL, bundled: URL?) {
    self.folder = folder
    self.bundled = bundled
  }

  public func models() -> [StoredModel] {
    let first = bundled.flatMap { describe($0, name: "Bundled model", isBundled: true) }
    let imported = contents().compactMap { describe($0, name: $0.lastPathComponent) }
    return [first].compactMap { $0 } + imported
  }

  /// Copies an artifact folder into the app's storage, and compares every byte with its manifest.
  public func add(_ source: URL) throws -> StoredModel {
    let files = FileManager.default
    let listed = try fileNames(source)
    try files.createDirectory(at: folder, withIntermediateDirectories: true)
    removeUnfinished()
    let copy = folder.appendingPathComponent(Self.unfinished + UUID().uuidString)
    defer { try? files.removeItem(at: copy) }
    try files.createDirectory(at: copy, withIntermediateDirectories: false)
    for name in [Self.manifest] + listed {
      let file = source.appendingPathComponent(name)
      guard
        try files.attributesOfItem(atPath: file.path)[.type] as? FileAttributeType == .typeRegular
      else { throw EngineError(.artifact, "\(name) is no file, expected a file") }
      try files.copyItem(at: file, to: copy.appendingPathComponent(name))
    }
    try Engine.check(copy)
    let place = freePlace(source.lastPathComponent)
    try files.moveItem(at: copy, to: place)
    excludeFromBackup(place)
    guard let model = describe(place, name: place.lastPathComponent) else {
      throw EngineError(.artifact, "\(place.lastPathComponent) was copied and cannot be read")
    }
    return model
  }

  public func remove(_ model: StoredModel) throws {
    if !model.isBundled { try FileManager.default.removeItem(at: model.folder) }
  }

  private func contents() -> [URL] {
    let found = try? FileManager.default.contentsOfDirectory(
      at: folder, includingPropertiesForKeys: nil, options: .skipsHiddenFiles)
    return (found ?? [])
      .filter { !$0.lastPathComponent.hasPrefix(Self.unfinished) }
      .sorted { $0.lastPathComponent < $1.lastPathComponent }
  }

  /// What an app that was ended while it copied left behind.
  private func removeUnfinished() {
    let found = try? FileManager.default.contentsOfDirectory(
      at: folder, includingPropertiesForKeys: nil)
    for url in found ?? [] where url.lastPathComponent.hasPrefix(Self.unfinished) {
      try? FileManager.default.removeItem(at: url)
    }
  }

  private func describe(_ url: URL, name: String, isBundled: Bool = false) -> StoredModel? {
    guard let sizes = try? Manifest(url).files.values.map(\.size) else { return nil }
    return StoredModel(
      id: isBundled ? "" : url.lastPathComponent, name: name, folder: url,
      bytes: sizes.reduce(0) { $0 &+ $1 }, isBundled: isBundled)
  }

  private func fileNames(_ source: URL) throws -> [String] {
    let names: [String]
    do {
      names = try Manifest(source).files.keys.sorted()
    } catch {
      throw EngineError(
        .artifact,
        "\(source.lastPathComponent) has no manifest.json of an exported model; make one with: "
          + "bitnet-onnx export CHECKPOINT -o ARTIFACT --for ios")
    }
    // A name must not lead out of the folder.
    for name in names where name.contains(where: { "/\\:\0".contains($0) }) || name.hasPrefix(".") {
      throw EngineError(
        .artifact, "manifest.json lists \(name.debugDescription), expected plain names of files")
    }
    return names
  }

  private func freePlace(_ name: String) -> URL {
    var place = folder.appendingPathComponent(name)
    var number = 2
    while FileManager.default.fileExists(atPath: place.path) {
      place = folder.appendingPathComponent("\(name) \(number)")
      number += 1
    }
    return place
  }

  private func excludeFromBackup(_ url: URL) {
    #if canImport(Darwin)
      var url = url
      var values = URLResourceValues()
      values.isExcludedFromBackup = true
      try? url.setResourceValues(values)
    #endif
  }
}

/// The part of manifest.json that tells which files to copy. The engine checks all of it.
private struct Manifest: Decodable {
  struct File: Decodable {
    let size: Int64
  }

  let files: [String: File]

  init(_ folder: URL) throws {
    let data = try Data(contentsOf: folder.appendingPathComponent("manifest.json"))
    self = try JSONDecoder().decode(Manifest.self, from: data)
  }
}
