import BitnetChat
import BitnetEdge
import XCTest

final class ChatSettingsTests: XCTestCase {
  private let defaults = GenerationOptions(
    maxNewTokens: 64, doSample: true, temperature: 0.6, topK: 20, topP: 0.9, minP: 0.05,
    repetitionPenalty: 1.1, seed: 0, stopStrings: ["end"], whenFull: .forgets)

  func testTheModelsOwnSamplingIsKept() {
    var settings = ChatSettings()
    settings.seed = 5
    var expected = defaults
    (expected.maxNewTokens, expected.seed) = (512, 5)
    XCTAssertEqual(settings.options(defaults), expected)
  }

  func testTheUsersValuesHoldWhereTokensAreDrawn() {
    var settings = ChatSettings()
    settings.sampling = .drawn
    (settings.temperature, settings.topK, settings.topP, settings.minP) = (1.5, 0, 0.5, 0.1)
    let options = settings.options(defaults)
    XCTAssertTrue(options.doSample)
    XCTAssertEqual(
      [options.temperature, Double(options.topK), options.topP, options.minP], [1.5, 0, 0.5, 0.1])
    XCTAssertEqual(options.repetitionPenalty, 1)
    XCTAssertEqual(options.stopStrings, ["end"])
  }

  func testGreedyDrawsNothing() {
    var settings = ChatSettings()
    settings.sampling = .greedy
    settings.repetitionPenalty = 1.2
    let options = settings.options(defaults)
    XCTAssertFalse(options.doSample)
    XCTAssertEqual(options.repetitionPenalty, 1.2)
  }

  func testWithoutASeedAnswersDiffer() {
    let settings = ChatSettings()
    XCTAssertNotEqual(settings.options(defaults).seed, settings.options(defaults).seed)
  }
}
