// The app, its windows, menus and toolbars.
@MainActor @preconcurrency public protocol App {
  associatedtype Body: Scene
  @SceneBuilder var body: Self.Body { get }
  init()
}
extension App {
  public static func main() {}
}

@MainActor @preconcurrency public protocol Scene {}
@resultBuilder public enum SceneBuilder {
  public static func buildBlock<Content: Scene>(_ content: Content) -> Content { content }
}
public struct WindowGroup<Content: View>: Scene {
  public init(@ViewBuilder content: @escaping () -> Content) {}
}
public struct PartScene: Scene {}
extension Scene {
  public func commands<C: Commands>(@CommandsBuilder content: () -> C) -> PartScene { PartScene() }
}

public protocol Commands {}
@resultBuilder public enum CommandsBuilder {
  public static func buildBlock<Content: Commands>(_ content: Content) -> Content { content }
}
public enum CommandGroupPlacement { case newItem }
public struct CommandGroup: Commands {
  public init<C: View>(replacing: CommandGroupPlacement, @ViewBuilder addition: () -> C) {}
}

@MainActor @preconcurrency public protocol ToolbarContent {}
@resultBuilder public enum ToolbarContentBuilder {
  public static func buildBlock<each Content: ToolbarContent>(
    _ content: repeat each Content
  ) -> ToolbarParts { ToolbarParts() }
}
public struct ToolbarParts: ToolbarContent {}
public enum ToolbarItemPlacement { case automatic, primaryAction, confirmationAction }
public struct ToolbarItem: ToolbarContent {
  public init<C: View>(
    placement: ToolbarItemPlacement = .automatic, @ViewBuilder content: () -> C
  ) {}
}

/// What Apple's Foundation has and Linux's has not.
extension URL {
  public static var applicationSupportDirectory: URL { URL(fileURLWithPath: "/") }
  public func startAccessingSecurityScopedResource() -> Bool { true }
  public func stopAccessingSecurityScopedResource() {}
}
