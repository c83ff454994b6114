// manifest.json, read and checked as bitnet_onnx/artifact.py does it.
#pragma once

#include <stdint.h>

#include <string>
#include <vector>

#include "base/status.h"

namespace edge {

constexpr char kManifest[] = "manifest.json";
constexpr char kModel[] = "model.onnx";

struct ListedFile {
  std::string name;
  int64_t size = 0;
  std::string sha256;
};

struct Manifest {
  std::string folder;
  std::string network;  // "" in version 1
  std::string target, head, kv_cache;
  int32_t context_length = 0, vocab_size = 0, num_hidden_layers = 0, num_key_value_heads = 0,
          head_dim = 0;
  std::vector<ListedFile> files;

  bool has(const char* name) const;
  int64_t weight_bytes() const;
};

// Refuses what it does not know, by name. Every listed file has its size, and those of up to 16 MB
// their hash too.
Status open_manifest(const std::string& folder, Manifest* manifest);

// Compares the hash of every file, however large.
Status check_hashes(const Manifest& manifest);

}  // namespace edge
