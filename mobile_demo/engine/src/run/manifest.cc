#include "run/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "run/sha256.h"

namespace edge {
namespace {

constexpr int64_t kFormatVersion = 2;
constexpr int64_t kHashedAtOpen = 16 << 20;
constexpr char kAgain[] = "export or copy the artifact again";

constexpr size_t kMost = 8;  // values of a field
struct Choice {
  const char* name;
  const char* known[kMost + 1];  // ends with null
  std::string Manifest::* field;
};
constexpr Choice kChoices[] = {
    {"task", {"text-generation"}, nullptr},
    {"target", {"native", "stock"}, &Manifest::target},
    {"head",
     {"bf16", "int8", "int6", "int4", "float32", "two-step", "two-step-int6", "two-step-int4"},
     &Manifest::head},
    {"kv_cache", {"float32", "float16", "int8", "int4"}, &Manifest::kv_cache},
    {"linears", {"ternary", "bf16", "float32", "int8"}, nullptr},
};
constexpr bool all_end() {
  bool found = true;
  for (const Choice& choice : kChoices) found = found && !choice.known[kMost];
  return found;
}
static_assert(all_end(), "a null after the last value");

struct Size {
  const char* name;
  int32_t Manifest::* field;
};
constexpr Size kSizes[] = {{"context_length", &Manifest::context_length},
                           {"vocab_size", &Manifest::vocab_size},
                           {"num_hidden_layers", &Manifest::num_hidden_layers},
                           {"num_key_value_heads", &Manifest::num_key_value_heads},
                           {"head_dim", &Manifest::head_dim}};

// Of every version; version 2 added task and network, and linears, which may be missing.
constexpr const char* kFields[] = {"format_version",
                                   "operator_domain_version",
                                   "target",
                                   "head",
                                   "kv_cache",
                                   "context_length",
                                   "vocab_size",
                                   "num_hidden_layers",
                                   "num_key_value_heads",
                                   "head_dim",
                                   "source",
                                   "files",
                                   "tools",
                                   "task",
                                   "network",
                                   "linears"};
constexpr size_t kFieldsOf1 = sizeof(kFields) / sizeof(kFields[0]) - 3;
constexpr size_t kFieldsOf2 = kFieldsOf1 + 2;

bool digits(std::string_view text) {
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
  }
  return !text.empty();
}

bool starts(std::string_view text, std::string_view with) {
  return text.substr(0, with.size()) == with;
}

// model.onnx_data, model.onnx_data_1, ...; of version 1: model.onnx.data, or
// model-00001-of-00002.onnx.data and so on.
bool is_data(std::string_view name) {
  constexpr std::string_view now = "model.onnx_data", first = "model-", between = "-of-",
                             last = ".onnx.data";
  if (starts(name, now)) {
    const std::string_view rest = name.substr(now.size());
    return rest.empty() || (rest[0] == '_' && digits(rest.substr(1)));
  }
  if (name == "model.onnx.data") return true;
  if (!starts(name, first) || name.size() < first.size() + last.size()) return false;
  const std::string_view part = name.substr(first.size(), name.size() - first.size() - last.size());
  const size_t middle = part.find(between);
  return name.substr(name.size() - last.size()) == last && middle != std::string_view::npos &&
         digits(part.substr(0, middle)) && digits(part.substr(middle + between.size()));
}

std::string shown(const Value& value) {
  switch (value.kind()) {
    case Value::kNull:
      return "null";
    case Value::kFalse:
      return "false";
    case Value::kTrue:
      return "true";
    case Value::kNumber:
      return value.is_integer() ? std::to_string(value.integer()) : std::to_string(value.number());
    case Value::kString:
      return quoted(value.text());
    case Value::kArray:
      return "a list";
    case Value::kObject:
      break;
  }
  return "an object";
}

Status check_fields(const std::string& path, const Value& root) {
  const Value* version = root.get("format_version");
  // Before the fields: those of a later version may differ.
  if (!version || !version->is_integer() || version->integer() < 1 ||
      version->integer() > kFormatVersion) {
    return fail(BITNET_EDGE_ARTIFACT,
                "%s: format_version is %s, expected 1 to %" PRId64
                "; export the checkpoint again, or take the app that belongs to it",
                path.c_str(), version ? shown(*version).c_str() : "missing", kFormatVersion);
  }
  const size_t count = version->integer() == 1 ? kFieldsOf1 : kFieldsOf2;
  for (size_t i = 0; i < count; i++) {
    if (!root.get(kFields[i])) {
      return fail(BITNET_EDGE_ARTIFACT, "%s: the field %s is missing", path.c_str(), kFields[i]);
    }
  }
  for (auto member = root.begin(); member != root.end(); ++member) {
    bool known = false;
    const size_t last = count + (count == kFieldsOf2);
    for (size_t i = 0; i < last; i++) known = known || member.key() == kFields[i];
    if (!known) {
      return fail(BITNET_EDGE_ARTIFACT, "%s: the field %s is unknown to this engine", path.c_str(),
                  quoted(member.key()).c_str());
    }
  }
  return {};
}

Status read_choices(const std::string& path, const Value& root, Manifest* manifest) {
  const Value& domain = *root.get("operator_domain_version");
  if (!domain.is_integer() || domain.integer() != 1) {
    return fail(BITNET_EDGE_ARTIFACT, "%s: operator_domain_version is %s, expected 1", path.c_str(),
                shown(domain).c_str());
  }
  for (const Choice& choice : kChoices) {
    const Value* value = root.get(choice.name);
    if (!value) continue;  // task, in version 1; linears that are ternary
    bool known = false;
    std::string listed;
    for (const char* const* name = choice.known; *name; name++) {
      known = known || (value->is_string() && value->text() == *name);
      listed += (listed.empty() ? "" : ", ") + std::string(*name);
    }
    if (!known) {
      return fail(BITNET_EDGE_ARTIFACT, "%s: %s is %s, expected one of: %s", path.c_str(),
                  choice.name, shown(*value).c_str(), listed.c_str());
    }
    if (choice.field) manifest->*choice.field = value->string();
  }
  return {};
}

Status read_sizes(const std::string& path, const Value& root, Manifest* manifest) {
  for (const Size& size : kSizes) {
    const Value& value = *root.get(size.name);
    if (!value.is_integer() || value.integer() < 1 || value.integer() > INT32_MAX) {
      return fail(BITNET_EDGE_ARTIFACT, "%s: %s is %s, expected an integer from 1 to 2147483647",
                  path.c_str(), size.name, shown(value).c_str());
    }
    manifest->*size.field = static_cast<int32_t>(value.integer());
  }
  if (const Value* network = root.get("network")) {
    if (!network->is_string()) {
      return fail(BITNET_EDGE_ARTIFACT, "%s: network is %s, expected a name", path.c_str(),
                  shown(*network).c_str());
    }
    manifest->network = network->string();
  }
  for (const char* name : {"source", "tools"}) {
    if (!root.get(name)->is_object()) {
      return fail(BITNET_EDGE_ARTIFACT, "%s: %s is %s, expected an object", path.c_str(), name,
                  shown(*root.get(name)).c_str());
    }
  }
  return {};
}

Status read_files(const std::string& path, const Value& files, Manifest* manifest) {
  bool data = false;
  for (auto file = files.begin(); files.is_object() && file != files.end(); ++file) {
    const std::string_view name = file.key();
    const Value *size = file->get("size"), *hash = file->get("sha256");
    // The separators of every system: on Windows "C:a" leads to another drive.
    const bool plain = !name.empty() && name != "." && name != ".." &&
                       name.find_first_of(std::string_view("/\\:\0", 4)) == name.npos;
    if (!plain || file->size() != 2 || !size || !size->is_integer() || !hash ||
        !hash->is_string()) {
      return fail(BITNET_EDGE_ARTIFACT,
                  "%s: files has %s, expected plain file names, each with its size and sha256",
                  path.c_str(), quoted(name).c_str());
    }
    data = data || is_data(name);
    manifest->files.push_back({std::string(name), size->integer(), hash->string()});
  }
  if (!manifest->has(kModel) || !data) {
    return fail(BITNET_EDGE_ARTIFACT, "%s: files lacks %s or model.onnx_data, expected both",
                path.c_str(), kModel);
  }
  return {};
}

Status check_file(const Manifest& manifest, const ListedFile& listed, bool hashed) {
  const std::string path = join(manifest.folder, listed.name.c_str());
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe would wait
  if (file < 0 && errno == ENOENT) {
    return fail(BITNET_EDGE_ARTIFACT, "%s does not exist but is in the manifest; %s", path.c_str(),
                kAgain);
  }
  if (file < 0) {
    return fail(BITNET_EDGE_ARTIFACT, "%s cannot be read: %s", path.c_str(), strerror(errno));
  }
  char first;
  const bool readable = read(file, &first, 1) >= 0;  // a folder has a size, too
  const int64_t size = lseek(file, 0, SEEK_END);
  close(file);
  if (!readable || size < 0) {
    return fail(BITNET_EDGE_ARTIFACT, "%s is not a file but is in the manifest; %s", path.c_str(),
                kAgain);
  }
  if (size != listed.size) {
    return fail(BITNET_EDGE_ARTIFACT,
                "%s has %" PRId64 " bytes, expected %" PRId64
                " as in the manifest: it is truncated or was changed; %s",
                path.c_str(), size, listed.size, kAgain);
  }
  if (!hashed) return {};
  std::string found;
  if (Status status = sha256(path, &found); !status.ok()) return status;
  if (found == listed.sha256) return {};
  return fail(BITNET_EDGE_ARTIFACT, "%s is corrupt: its sha256 differs from the manifest's; %s",
              path.c_str(), kAgain);
}

}  // namespace

bool Manifest::has(const char* name) const {
  for (const ListedFile& file : files) {
    if (file.name == name) return true;
  }
  return false;
}

int64_t Manifest::weight_bytes() const {
  int64_t bytes = 0;
  for (const ListedFile& file : files) {
    if (is_data(file.name)) bytes += file.size;
  }
  return bytes;
}

Status open_manifest(const std::string& folder, Manifest* manifest) {
  const std::string path = join(folder, kManifest);
  if (!file_exists(path)) {
    return fail(BITNET_EDGE_ARTIFACT,
                "%s does not exist, expected an artifact folder; make one with: bitnet-onnx export "
                "CHECKPOINT -o ARTIFACT",
                path.c_str());
  }
  Json json;
  Status status = read_json(folder, kManifest, &json);
  if (status.ok()) status = check_fields(path, json.root());
  Manifest read;
  read.folder = folder;
  if (status.ok()) status = read_choices(path, json.root(), &read);
  if (status.ok()) status = read_sizes(path, json.root(), &read);
  if (status.ok()) status = read_files(path, *json.get("files"), &read);
  for (const ListedFile& file : read.files) {
    if (status.ok()) status = check_file(read, file, file.size <= kHashedAtOpen);
  }
  if (status.ok()) *manifest = std::move(read);
  return status;
}

Status check_hashes(const Manifest& manifest) {
  for (const ListedFile& file : manifest.files) {
    if (Status status = check_file(manifest, file, true); !status.ok()) return status;
  }
  return {};
}

}  // namespace edge
