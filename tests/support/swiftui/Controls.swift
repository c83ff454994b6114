// Fields, sliders and pickers.
public struct TextField: PartView {
  public init(_ title: LocalizedStringKey, text: Binding<String>, axis: Axis) {}
  public init<F: ParseableFormatStyle>(
    _ title: LocalizedStringKey, value: Binding<F.FormatInput>, format: F
  ) where F.FormatOutput == String {}
}

public struct Stepper: PartView {
  public init<V: Strideable>(
    _ title: LocalizedStringKey, value: Binding<V>, in bounds: ClosedRange<V>, step: V.Stride = 1
  ) {}
  @_disfavoredOverload public init<S: StringProtocol, V: Strideable>(
    _ title: S, value: Binding<V>, in bounds: ClosedRange<V>, step: V.Stride = 1
  ) {}
}

public struct Toggle: PartView {
  public init(_ title: LocalizedStringKey, isOn: Binding<Bool>) {}
}

public struct Picker<Selection: Hashable, Content: View>: PartView {
  public init(
    _ title: LocalizedStringKey, selection: Binding<Selection>, @ViewBuilder content: () -> Content
  ) {}
}

public struct Slider<Label: View>: PartView {
  public init<V: BinaryFloatingPoint>(
    value: Binding<V>, in bounds: ClosedRange<V>, step: V.Stride = 1,
    @ViewBuilder label: () -> Label
  ) where V.Stride: BinaryFloatingPoint {}
}

public struct LabeledContent: PartView {
  public init<S1: StringProtocol, S2: StringProtocol>(_ title: S1, value: S2) {}
}
