// What is said of a view. Each returns a view of SwiftUI.
import UniformTypeIdentifiers

public struct AccessibilityTraits: OptionSet, Sendable {
  public let rawValue: Int
  public init(rawValue: Int) { self.rawValue = rawValue }
  public static let isSelected = AccessibilityTraits(rawValue: 1)
  public static let updatesFrequently = AccessibilityTraits(rawValue: 2)
}
public struct KeyEquivalent: ExpressibleByExtendedGraphemeClusterLiteral {
  public init(extendedGraphemeClusterLiteral value: Character) {}
  public static let `return`: KeyEquivalent = "\r"
}
public struct EventModifiers: OptionSet, Sendable {
  public let rawValue: Int
  public init(rawValue: Int) { self.rawValue = rawValue }
  public static let command = EventModifiers(rawValue: 1)
}
public enum TitleDisplayMode { case inline }

extension View {
  public func accessibilityAddTraits(_ traits: AccessibilityTraits) -> Part { Part() }
  public func accessibilityHidden(_ hidden: Bool) -> Part { Part() }
  public func accessibilityLabel<S: StringProtocol>(_ label: S) -> Part { Part() }
  public func accessibilityValue<S: StringProtocol>(_ value: S) -> Part { Part() }
  public func alert<A: View, M: View, T>(
    _ title: LocalizedStringKey, isPresented: Binding<Bool>, presenting data: T?,
    @ViewBuilder actions: (T) -> A, @ViewBuilder message: (T) -> M
  ) -> Part { Part() }
  public func background<S: ShapeStyle, T: Shape>(_ style: S, in shape: T) -> Part { Part() }
  public func buttonStyle<S: ButtonStyle>(_ style: S) -> Part { Part() }
  public func confirmationDialog<A: View, T>(
    _ title: LocalizedStringKey, isPresented: Binding<Bool>, presenting data: T?,
    @ViewBuilder actions: (T) -> A
  ) -> Part { Part() }
  public func contentShape<S: Shape>(_ shape: S) -> Part { Part() }
  public func contextMenu<M: View>(@ViewBuilder menuItems: () -> M) -> Part { Part() }
  public func controlSize(_ size: ControlSize) -> Part { Part() }
  public func defaultScrollAnchor(_ anchor: UnitPoint?) -> Part { Part() }
  public func disabled(_ disabled: Bool) -> Part { Part() }
  public func environment<T: AnyObject & Observable>(_ object: T?) -> Part { Part() }
  public func fileImporter(
    isPresented: Binding<Bool>, allowedContentTypes: [UTType],
    onCompletion: @escaping (Result<URL, any Error>) -> Void
  ) -> Part { Part() }
  public func focused(_ condition: Binding<Bool>) -> Part { Part() }
  public func font(_ font: Font?) -> Part { Part() }
  public func foregroundStyle<S: ShapeStyle>(_ style: S) -> Part { Part() }
  public func formStyle<S: FormStyle>(_ style: S) -> Part { Part() }
  public func frame(
    width: CGFloat? = nil, height: CGFloat? = nil, alignment: Alignment = .center
  ) -> Part { Part() }
  public func frame(
    minWidth: CGFloat? = nil, maxWidth: CGFloat? = nil, minHeight: CGFloat? = nil,
    maxHeight: CGFloat? = nil, alignment: Alignment = .center
  ) -> Part { Part() }
  public func id<ID: Hashable>(_ id: ID) -> Part { Part() }
  public func keyboardShortcut(
    _ key: KeyEquivalent, modifiers: EventModifiers = .command
  ) -> Part { Part() }
  public func labelStyle<S: LabelStyle>(_ style: S) -> Part { Part() }
  public func labelsHidden() -> Part { Part() }
  public func lineLimit(_ limit: ClosedRange<Int>) -> Part { Part() }
  public func modifier<T: ViewModifier>(_ modifier: T) -> Part { Part() }
  public func multilineTextAlignment(_ alignment: TextAlignment) -> Part { Part() }
  public func navigationBarTitleDisplayMode(_ mode: TitleDisplayMode) -> Part { Part() }
  public func navigationTitle(_ title: LocalizedStringKey) -> Part { Part() }
  public func onChange<V: Equatable>(of value: V, _ action: @escaping () -> Void) -> Part {
    Part()
  }
  public func onChange<V: Equatable>(of value: V, _ action: @escaping (V, V) -> Void) -> Part {
    Part()
  }
  public func onSubmit(_ action: @escaping () -> Void) -> Part { Part() }
  public func padding(_ edges: Edge.Set = .all, _ length: CGFloat? = nil) -> Part { Part() }
  public func padding(_ length: CGFloat) -> Part { Part() }
  public func sheet<Item: Identifiable, C: View>(
    item: Binding<Item?>, @ViewBuilder content: @escaping (Item) -> C
  ) -> Part { Part() }
  public func swipeActions<T: View>(@ViewBuilder content: () -> T) -> Part { Part() }
  public func tag<V: Hashable>(_ tag: V) -> Part { Part() }
  public func task(_ action: @escaping @Sendable @isolated(any) () async -> Void) -> Part {
    Part()
  }
  public func textFieldStyle<S: TextFieldStyle>(_ style: S) -> Part { Part() }
  public func textSelection<S: TextSelectability>(_ selectability: S) -> Part { Part() }
  public func toolbar<C: ToolbarContent>(@ToolbarContentBuilder content: () -> C) -> Part {
    Part()
  }
}
