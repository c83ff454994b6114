// The names of a graph's ports, and whether a manifest describes the graph that is beside it.
#pragma once

#include <string>
#include <vector>

#include "run/manifest.h"
#include "run/onnxruntime.h"

namespace edge {

constexpr char kIds[] = "input_ids";
constexpr char kMask[] = "attention_mask";
constexpr char kKept[] = "logits_to_keep";
constexpr char kLogits[] = "logits";

// One kind of buffers of the cache; each layer has one.
struct CachePart {
  const char* suffix;  // "key"
  Type type;
  int64_t width;  // [rows, heads, positions, width], or 0 for [rows, heads, positions]

  std::string past(int layer) const;
  std::string present(int layer) const;
};
std::vector<CachePart> cache_parts(const Manifest& manifest);

// Buffers are made of the manifest's sizes, so a graph of others is refused.
Status check_graph(const Manifest& manifest, const Runtime& runtime);

}  // namespace edge
