import BitnetChat
import BitnetEdge
import XCTest

final class ModelStoreTests: XCTestCase {
  private var folder: URL!
  private var source: URL!
  private var store: ModelStore!

  override func setUpWithError() throws {
    guard let model = ProcessInfo.processInfo.environment["BITNET_EDGE_MODEL"] else {
      throw XCTSkip("BITNET_EDGE_MODEL names no exported model")
    }
    folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    source = folder.appendingPathComponent("model")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try FileManager.default.copyItem(at: URL(fileURLWithPath: model), to: source)
    store = ModelStore(folder: folder.appendingPathComponent("Models"), bundled: source)
  }

  override func tearDown() {
    if let folder { try? FileManager.default.removeItem(at: folder) }
  }

  private func edit(_ name: String, _ change: (inout Data) -> Void) throws {
    let file = source.appendingPathComponent(name)
    var data = try Data(contentsOf: file)
    change(&data)
    try data.write(to: file)
  }

  private func assertRefused(_ line: UInt = #line) {
    XCTAssertThrowsError(try store.add(source), line: line) { error in
      XCTAssertEqual((error as? EngineError)?.kind, .artifact, "\(error)", line: line)
    }
    XCTAssertEqual(store.models().filter { !$0.isBundled }, [], line: line)
    let left = try? FileManager.default.contentsOfDirectory(
      atPath: folder.appendingPathComponent("Models").path)
    XCTAssertEqual(left ?? [], [], line: line)
  }

  func testImportsAreCopiesWithNamesOfTheirOwn() throws {
    let one = try store.add(source)
    let two = try store.add(source)
    XCTAssertEqual([one.name, two.name], ["model", "model 2"])
    XCTAssertEqual(store.models().map(\.name), ["Bundled model", "model", "model 2"])
    XCTAssertGreaterThan(one.bytes, 1_000_000)
    try store.remove(one)
    XCTAssertEqual(store.models().map(\.name), ["Bundled model", "model 2"])
    try store.remove(store.models()[0])
    XCTAssertEqual(store.models().count, 2, "the bundled model stays")
  }

  func testOnlyListedFilesAreCopied() throws {
    try Data().write(to: source.appendingPathComponent("holiday.jpg"))
    let copy = try store.add(source).folder.appendingPathComponent("holiday.jpg")
    XCTAssertFalse(FileManager.default.fileExists(atPath: copy.path))
  }

  func testWhatAnEndedImportLeftIsRemoved() throws {
    let left = folder.appendingPathComponent("Models/unfinished-1")
    try FileManager.default.createDirectory(at: left, withIntermediateDirectories: true)
    XCTAssertEqual(store.models().count, 1)
    _ = try store.add(source)
    XCTAssertFalse(FileManager.default.fileExists(atPath: left.path))
  }

  func testAChangedWeightIsRefused() throws {
    try edit("model.onnx_data") { $0[1000] ^= 1 }
    assertRefused()
  }

  func testAShortFileIsRefused() throws {
    try edit("model.onnx_data") { $0.removeLast() }
    assertRefused()
  }

  func testAMissingFileIsRefused() throws {
    try FileManager.default.removeItem(at: source.appendingPathComponent("tokenizer.json"))
    XCTAssertThrowsError(try store.add(source))
    XCTAssertEqual(store.models().count, 1)
  }

  func testAFolderInPlaceOfAFileIsRefused() throws {
    let file = source.appendingPathComponent("tokenizer.json")
    try FileManager.default.removeItem(at: file)
    try FileManager.default.createDirectory(at: file, withIntermediateDirectories: false)
    assertRefused()
  }

  func testALinkIsRefused() throws {
    let file = source.appendingPathComponent("tokenizer.json")
    try FileManager.default.removeItem(at: file)
    try FileManager.default.createSymbolicLink(
      at: file, withDestinationURL: URL(fileURLWithPath: "/etc/passwd"))
    assertRefused()
  }

  func testManifestsThatAreNoneAreRefused() throws {
    for text in ["", "{", "[]", "{\"files\": []}", "{\"files\": {\"a\": {}}}"] {
      try edit("manifest.json") { $0 = Data(text.utf8) }
      assertRefused()
    }
  }

  func testNamesThatLeadOutOfTheFolderAreRefused() throws {
    for name in ["../a", "/etc/passwd", ".", "..", "a/b", "a\\\\b", "", "C:a", "a\\u0000b"] {
      let text = "{\"files\": {\"\(name)\": {\"size\": 1, \"sha256\": \"\"}}}"
      try edit("manifest.json") { $0 = Data(text.utf8) }
      assertRefused()
    }
  }
}
