// A stand-in, as SwiftUI beside it.
public struct UTType: Sendable {
  public static let folder = UTType()
}
