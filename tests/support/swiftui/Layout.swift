// Stacks, shapes, colours and styles.
public typealias CGFloat = Double

public enum HorizontalAlignment { case leading, center, trailing }
public enum VerticalAlignment { case top, center, bottom }
public enum Alignment { case leading, center, trailing }
public enum TextAlignment { case leading, center, trailing }
public enum UnitPoint { case top, bottom }
public enum Axis { case horizontal, vertical }
public enum Edge {
  public struct Set: OptionSet, Sendable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }
    public static let top = Set(rawValue: 1)
    public static let bottom = Set(rawValue: 2)
    public static let horizontal = Set(rawValue: 4)
    public static let vertical = Set(rawValue: 3)
    public static let all = Set(rawValue: 7)
  }
}

public struct VStack<Content: View>: PartView {
  public init(
    alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil,
    @ViewBuilder content: () -> Content
  ) {}
}
public struct LazyVStack<Content: View>: PartView {
  public init(
    alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil,
    @ViewBuilder content: () -> Content
  ) {}
}
public struct HStack<Content: View>: PartView {
  public init(
    alignment: VerticalAlignment = .center, spacing: CGFloat? = nil,
    @ViewBuilder content: () -> Content
  ) {}
}

public protocol ShapeStyle {}
extension ShapeStyle {
  public func opacity(_ opacity: Double) -> some ShapeStyle { self }
}
public struct Color: PartView, ShapeStyle {
  public static let clear = Color()
}
public struct HierarchicalStyle: ShapeStyle {}
extension ShapeStyle where Self == HierarchicalStyle {
  public static var secondary: HierarchicalStyle { HierarchicalStyle() }
}
public struct TintStyle: ShapeStyle {}
extension ShapeStyle where Self == TintStyle {
  public static var tint: TintStyle { TintStyle() }
}
public struct FillStyle: ShapeStyle {
  public var tertiary: some ShapeStyle { self }
}
extension ShapeStyle where Self == FillStyle {
  public static var fill: FillStyle { FillStyle() }
}

public protocol Shape {}
public struct Rectangle: Shape {}
extension Shape where Self == Rectangle {
  public static var rect: Rectangle { Rectangle() }
  public static func rect(cornerRadius: CGFloat) -> Rectangle { Rectangle() }
}

public enum Font { case footnote, body, largeTitle }

public protocol ButtonStyle {}
public struct PlainButtonStyle: ButtonStyle {}
extension ButtonStyle where Self == PlainButtonStyle {
  public static var plain: PlainButtonStyle { PlainButtonStyle() }
}
public protocol LabelStyle {}
public struct IconOnlyLabelStyle: LabelStyle {}
extension LabelStyle where Self == IconOnlyLabelStyle {
  public static var iconOnly: IconOnlyLabelStyle { IconOnlyLabelStyle() }
}
public protocol TextFieldStyle {}
public struct PlainTextFieldStyle: TextFieldStyle {}
extension TextFieldStyle where Self == PlainTextFieldStyle {
  public static var plain: PlainTextFieldStyle { PlainTextFieldStyle() }
}
public protocol FormStyle {}
public struct GroupedFormStyle: FormStyle {}
extension FormStyle where Self == GroupedFormStyle {
  public static var grouped: GroupedFormStyle { GroupedFormStyle() }
}
public protocol TextSelectability {}
public struct EnabledTextSelectability: TextSelectability {}
extension TextSelectability where Self == EnabledTextSelectability {
  public static var enabled: EnabledTextSelectability { EnabledTextSelectability() }
}
public enum ControlSize { case mini, small, regular }
