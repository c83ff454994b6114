// A stand-in for SwiftUI: the declarations that mobile_demo/ios/App uses, written after Apple's
// documentation, so that the screens can be type-checked without Apple's SDK. It shows nothing. It
// proves what the screens do with our own types, and not that they use Apple's rightly.
@_exported import Foundation
@_exported import Observation

@MainActor @preconcurrency public protocol View {
  associatedtype Body: View
  @ViewBuilder @MainActor @preconcurrency var body: Self.Body { get }
}

extension Never: View {
  public var body: Never { fatalError() }
}

extension Optional: View where Wrapped: View {
  public var body: Never { fatalError() }
}

/// Any view of SwiftUI itself.
public struct Part: View {
  public var body: Never { fatalError() }
}

@resultBuilder public enum ViewBuilder {
  public static func buildExpression<Content: View>(_ content: Content) -> Content { content }
  public static func buildBlock() -> Part { Part() }
  public static func buildBlock<Content: View>(_ content: Content) -> Content { content }
  public static func buildBlock<each Content: View>(_ content: repeat each Content) -> Part {
    Part()
  }
  public static func buildIf<Content: View>(_ content: Content?) -> Content? { content }
  public static func buildEither<Content: View>(first: Content) -> Part { Part() }
  public static func buildEither<Content: View>(second: Content) -> Part { Part() }
}

public protocol ViewModifier {
  associatedtype Body: View
  typealias Content = Part
  @ViewBuilder @MainActor @preconcurrency func body(content: Self.Content) -> Self.Body
}

public protocol PartView: View where Body == Never {}
extension PartView {
  public var body: Never { fatalError() }
}

public struct Text: PartView {
  public init(_ key: LocalizedStringKey) {}
  @_disfavoredOverload public init<S: StringProtocol>(_ content: S) {}
}

public struct LocalizedStringKey: ExpressibleByStringInterpolation {
  public init(stringLiteral value: String) {}
}

public struct Image: PartView {
  public init(systemName: String) {}
}

public struct Spacer: PartView {
  public init() {}
}

public struct ProgressView: PartView {
  public init() {}
}

public struct ButtonRole: Equatable, Sendable {
  public static let destructive = ButtonRole()
  public static let cancel = ButtonRole()
}

public struct Button<Label: View>: PartView {
  public init(action: @escaping @MainActor () -> Void, @ViewBuilder label: () -> Label) {}
}
extension Button where Label == Text {
  public init(_ title: LocalizedStringKey, action: @escaping @MainActor () -> Void) {}
  public init(
    _ title: LocalizedStringKey, role: ButtonRole?, action: @escaping @MainActor () -> Void
  ) {}
}
extension Button where Label == Part {
  public init(
    _ title: LocalizedStringKey, systemImage: String, action: @escaping @MainActor () -> Void
  ) {}
  public init(
    _ title: LocalizedStringKey, systemImage: String, role: ButtonRole?,
    action: @escaping @MainActor () -> Void
  ) {}
}

public struct Section<Parent, Content, Footer>: PartView {}
extension Section where Parent == Text, Content: View, Footer == Part {
  public init(_ title: LocalizedStringKey, @ViewBuilder content: () -> Content) {}
}
extension Section where Parent == Part, Content: View, Footer == Part {
  public init(@ViewBuilder content: () -> Content) {}
}
extension Section where Parent == Part, Content: View, Footer: View {
  public init(@ViewBuilder content: () -> Content, @ViewBuilder footer: () -> Footer) {}
}
extension Section where Parent: View, Content: View, Footer: View {
  public init(
    @ViewBuilder content: () -> Content, @ViewBuilder header: () -> Parent,
    @ViewBuilder footer: () -> Footer
  ) {}
}

public struct Form<Content: View>: PartView {
  public init(@ViewBuilder content: () -> Content) {}
}

public struct List<Content: View>: PartView {
  public init(@ViewBuilder content: () -> Content) {}
}

public struct NavigationStack<Root: View>: PartView {
  public init(@ViewBuilder root: () -> Root) {}
}

public struct NavigationLink<Destination: View>: PartView {
  public init(_ title: LocalizedStringKey, @ViewBuilder destination: () -> Destination) {}
}

public struct ForEach<Data: RandomAccessCollection, Content: View>: PartView
where Data.Element: Identifiable {
  public init(_ data: Data, @ViewBuilder content: @escaping (Data.Element) -> Content) {}
}

public struct ScrollView<Content: View>: PartView {
  public init(@ViewBuilder content: () -> Content) {}
}

@MainActor public struct ScrollViewProxy {
  public func scrollTo<ID: Hashable>(_ id: ID, anchor: UnitPoint? = nil) {}
}

public struct ScrollViewReader<Content: View>: PartView {
  public init(@ViewBuilder content: @escaping (ScrollViewProxy) -> Content) {}
}
