import BitnetChat
import SwiftUI

/// The conversation, with what it cost below it, and the field for the next message.
struct ChatScreen: View {
  @Environment(ChatModel.self) private var model
  @Environment(\.scenePhase) private var scenePhase
  @State private var sheet: Sheet?

  enum Sheet: String, Identifiable {
    case models, settings
    var id: Self { self }
  }

  var body: some View {
    NavigationStack {
      VStack(spacing: 0) {
        Transcript()
        StatusLine()
        Composer()
      }
      .navigationTitle("BitNet")
      #if os(iOS)
        .navigationBarTitleDisplayMode(.inline)
      #endif
      .toolbar { buttons }
    }
    .sheet(item: $sheet) { sheet in
      NavigationStack {
        switch sheet {
        case .models: ModelsScreen()
        case .settings: SettingsScreen()
        }
      }
      #if os(macOS)
        .frame(minWidth: 420, minHeight: 480)
      #endif
    }
    .alert("BitNet", isPresented: hasProblem, presenting: model.problem) { _ in
      Button("OK") {}
    } message: { sentence in
      Text(sentence)
    }
    .onChange(of: scenePhase) {
      if scenePhase != .active { model.save() }
    }
  }

  @ToolbarContentBuilder private var buttons: some ToolbarContent {
    ToolbarItem(placement: .primaryAction) {
      Button("New chat", systemImage: "square.and.pencil") {
        Task { await model.newChat() }
      }
      .disabled(model.conversation.turns.isEmpty)
    }
    ToolbarItem(placement: .automatic) {
      Button("Models", systemImage: "shippingbox") { sheet = .models }
    }
    ToolbarItem(placement: .automatic) {
      Button("Settings", systemImage: "gearshape") { sheet = .settings }
    }
  }

  private var hasProblem: Binding<Bool> {
    Binding {
      model.problem != nil
    } set: { isShown in
      if !isShown { model.problem = nil }
    }
  }
}
