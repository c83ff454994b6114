import XCTest

@testable import BitnetChat
