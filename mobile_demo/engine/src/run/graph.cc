#include "run/graph.h"

#include <stdio.h>

#include "base/file.h"
#include "run/onnx_file.h"

namespace edge {
namespace {

constexpr std::string_view kPast = "past_key_values.";

std::string dims_of(const Port& port) {
  std::string text;
  for (const int64_t dim : port.dims) {
    text += text.empty() ? "[" : ", ";
    text += dim < 0 ? "?" : std::to_string(dim);
  }
  return text += "]";
}

// stated: what the manifest says; found: a verb with what the graph has; name: the end of it.
Status other_graph(const Manifest& manifest, const char* found, const std::string& name,
                   const char* stated = "it describes a cache") {
  return fail(
      BITNET_EDGE_ARTIFACT,
      "%s: %s, but %s %s%s, expected the manifest of this graph; export the checkpoint again",
      join(manifest.folder, kManifest).c_str(), stated, kModel, found, name.c_str());
}

Status compare(const Manifest& manifest, const char* field, int64_t stated, int64_t found) {
  if (found == stated || found < 0) return {};  // a size left open is negative
  char says[64];
  snprintf(says, sizeof(says), "%s is %lld", field, static_cast<long long>(stated));
  return other_graph(manifest, "has ", std::to_string(found), says);
}

// A port of another type or rank.
Status other_port(const Manifest& manifest, const Port& port) {
  char says[32], type[32];
  snprintf(says, sizeof(says), "kv_cache is %s", manifest.kv_cache.c_str());
  snprintf(type, sizeof(type), " of %s ", name_of(port.type));
  return other_graph(manifest, "has a ", port.name + type + dims_of(port), says);
}

const Port* find(const std::vector<Port>& ports, const std::string& name) {
  for (const Port& port : ports) {
    if (port.name == name) return &port;
  }
  return nullptr;
}

int64_t count_layers(const std::vector<Port>& inputs) {
  constexpr std::string_view end = ".key";
  int64_t layers = 0;
  for (const Port& port : inputs) {
    const std::string_view name = port.name;
    layers += name.size() > kPast.size() + end.size() && name.substr(0, kPast.size()) == kPast &&
              name.substr(name.size() - end.size()) == end;
  }
  return layers;
}

Status check_part(const Manifest& manifest, const CachePart& part, const Port& port) {
  const size_t rank = part.width ? 4 : 3;
  if (port.type != part.type || port.dims.size() != rank) {
    return other_port(manifest, port);
  }
  Status status =
      compare(manifest, "num_key_value_heads", manifest.num_key_value_heads, port.dims[1]);
  if (!status.ok() || !part.width) return status;
  const char* const field = port.type == Type::kUint8 ? "a packed head_dim" : "head_dim";
  return compare(manifest, field, part.width, port.dims[3]);
}

Status check_fed(const Manifest& manifest, const Runtime& runtime) {
  for (const char* name : {kIds, kMask, kKept}) {
    const Port* port = find(runtime.inputs(), name);
    if (!port) port = find(runtime.optional_inputs(), name);
    if (!port) return other_graph(manifest, "lacks ", name);
    if (port->type != Type::kInt64) return other_port(manifest, *port);
  }
  const Port* logits = find(runtime.outputs(), kLogits);
  if (!logits) return other_graph(manifest, "lacks ", kLogits);
  if (logits->type != Type::kFloat32 || logits->dims.size() != 3) {
    return other_port(manifest, *logits);
  }
  return compare(manifest, "vocab_size", manifest.vocab_size, logits->dims[2]);
}

Status check_no_others(const Manifest& manifest, const Runtime& runtime,
                       const std::vector<CachePart>& parts) {
  for (const Port& port : runtime.inputs()) {
    bool known = port.name == kIds || port.name == kMask || port.name == kKept;
    for (int layer = 0; layer < manifest.num_hidden_layers; layer++) {
      for (const CachePart& part : parts) known = known || port.name == part.past(layer);
    }
    if (!known) return other_graph(manifest, "needs ", port.name);
  }
  return {};
}

Status check_word(const Manifest& manifest, const char* field, const std::string& stated,
                  std::string_view found) {
  if (found.empty() || found == stated) return {};
  return other_graph(manifest, "has ", std::string(found), (field + (" is " + stated)).c_str());
}

// What only the file shows; a graph beyond the limit was not made by an export.
Status check_file(const Manifest& manifest) {
  constexpr size_t limit = size_t{256} << 20;
  std::string model;
  Status status = read_file(join(manifest.folder, kModel), limit, &model);
  if (!status.ok()) return status;
  const Shown shown = shown_by(model);
  status = check_word(manifest, "target", manifest.target, shown.native ? "native" : "stock");
  if (status.ok()) status = check_word(manifest, "head", manifest.head, shown.head);
  if (!status.ok()) return status;
  return compare(manifest, "context_length", manifest.context_length, shown.context_length);
}

std::string named(std::string_view begin, int layer, const char* suffix) {
  std::string name(begin);
  name += std::to_string(layer);
  name += '.';
  return name += suffix;
}

}  // namespace

std::string CachePart::past(int layer) const { return named(kPast, layer, suffix); }
std::string CachePart::present(int layer) const { return named("present.", layer, suffix); }

std::vector<CachePart> cache_parts(const Manifest& manifest) {
  Type type = Type::kFloat32;
  int64_t width = manifest.head_dim;
  if (manifest.kv_cache == "float16") type = Type::kFloat16;
  if (manifest.kv_cache == "int8") type = Type::kInt8;
  if (manifest.kv_cache == "int4") {
    type = Type::kUint8;
    width = (width + 31) / 32 * 17;  // packed: docs/artifact.md
  }
  std::vector<CachePart> parts = {{"key", type, width}, {"value", type, width}};
  if (type == Type::kInt8 || type == Type::kUint8) {
    parts.push_back({"key_scale", Type::kFloat32, 0});
    parts.push_back({"value_scale", Type::kFloat32, 0});
  }
  return parts;
}

Status check_graph(const Manifest& manifest, const Runtime& runtime) {
  Status status = compare(manifest, "num_hidden_layers", manifest.num_hidden_layers,
                          count_layers(runtime.inputs()));
  if (status.ok()) status = check_fed(manifest, runtime);
  const std::vector<CachePart> parts = cache_parts(manifest);
  if (status.ok()) status = check_no_others(manifest, runtime, parts);
  for (int layer = 0; status.ok() && layer < manifest.num_hidden_layers; layer++) {
    for (const CachePart& part : parts) {
      for (const bool past : {true, false}) {
        const std::string name = past ? part.past(layer) : part.present(layer);
        const Port* port = find(past ? runtime.inputs() : runtime.outputs(), name);
        if (!port) return other_graph(manifest, "lacks ", name);
        status = check_part(manifest, part, *port);
        if (!status.ok()) return status;
      }
    }
  }
  return status.ok() ? check_file(manifest) : status;
}

}  // namespace edge
