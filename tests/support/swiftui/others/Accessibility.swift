// A stand-in, as SwiftUI beside it.
public enum AccessibilityNotification {
  public struct Announcement {
    public init(_ text: String) {}
    public func post() {}
  }
}
