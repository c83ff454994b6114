import BitnetChat
import SwiftUI
import UniformTypeIdentifiers

/// The models of this app: the one that came with it, and those that the user imported.
struct ModelsScreen: View {
  @Environment(ChatModel.self) private var model
  @Environment(\.dismiss) private var dismiss
  @State private var isPicking = false
  @State private var doomed: StoredModel?

  var body: some View {
    List {
      Section {
        ForEach(model.models) { stored in
          row(stored)
        }
      } footer: {
        Text("A folder that `bitnet-onnx export --for ios` made is copied into this app.")
      }
      Section {
        if model.isImporting {
          HStack {
            ProgressView()
            Text("Copying and checking the model…")
          }
        } else {
          Button("Import a folder", systemImage: "square.and.arrow.down") { isPicking = true }
        }
      }
    }
    .navigationTitle("Models")
    .toolbar {
      ToolbarItem(placement: .confirmationAction) {
        Button("Done") { dismiss() }
      }
    }
    .fileImporter(isPresented: $isPicking, allowedContentTypes: [.folder], onCompletion: picked)
    .confirmationDialog("Delete this model?", isPresented: isAsking, presenting: doomed) { stored in
      Button("Delete \(stored.name)", role: .destructive) {
        Task { await model.remove(stored) }
      }
    }
  }

  private func row(_ stored: StoredModel) -> some View {
    Button {
      Task { await model.choose(stored) }
    } label: {
      HStack {
        VStack(alignment: .leading) {
          Text(stored.name)
          Text(stored.bytes.formatted(.byteCount(style: .file)))
            .font(.footnote)
            .foregroundStyle(.secondary)
        }
        Spacer()
        if stored == model.model { Image(systemName: "checkmark") }
      }
      .contentShape(.rect)
    }
    .buttonStyle(.plain)
    .accessibilityAddTraits(stored == model.model ? .isSelected : [])
    .swipeActions { deleteButton(stored) }
    .contextMenu { deleteButton(stored) }
  }

  @ViewBuilder private func deleteButton(_ stored: StoredModel) -> some View {
    if !stored.isBundled {
      Button("Delete", systemImage: "trash", role: .destructive) { doomed = stored }
    }
  }

  private var isAsking: Binding<Bool> {
    Binding {
      doomed != nil
    } set: { isShown in
      if !isShown { doomed = nil }
    }
  }

  private func picked(_ result: Result<URL, any Error>) {
    switch result {
    case .success(let folder):
      Task {
        let isScoped = folder.startAccessingSecurityScopedResource()
        defer { if isScoped { folder.stopAccessingSecurityScopedResource() } }
        await model.add(folder)
      }
    case .failure(let error):
      model.problem = error.localizedDescription
    }
  }
}
