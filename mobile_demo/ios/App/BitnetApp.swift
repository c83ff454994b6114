import BitnetChat
import SwiftUI

@main
struct BitnetApp: App {
  @State private var model = ChatModel(
    folder: .applicationSupportDirectory.appending(path: "BitNet"),
    bundled: Bundle.main.url(forResource: "Model", withExtension: nil))

  var body: some Scene {
    WindowGroup {
      ChatScreen()
        .environment(model)
        .task { await model.open() }
    }
    .commands {
      // One conversation, so one window: what would open another starts a chat.
      CommandGroup(replacing: .newItem) {
        Button("New Chat") { Task { await model.newChat() } }
          .keyboardShortcut("n")
      }
    }
  }
}
