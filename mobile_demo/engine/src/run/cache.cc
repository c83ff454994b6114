#include "run/cache.h"

#include <stdlib.h>
#include <string.h>

#include <algorithm>

namespace edge {
namespace {

constexpr int32_t kBlock = 512;  // the capacity grows by as many positions, as Python's does
constexpr size_t kMostBytes = size_t{1} << 46;

// Bytes of the buffer with `positions` positions, or 0 where no memory has so many.
size_t bytes_of(const CacheBuffer& buffer, int32_t positions) {
  const int64_t width = buffer.dims.size() == 4 ? buffer.dims[3] : 1;
  size_t bytes = size_of(buffer.type);
  for (const int64_t factor : {buffer.dims[1], width, int64_t{positions}}) {
    bytes *= static_cast<size_t>(factor);
    if (bytes > kMostBytes) return 0;
  }
  return bytes;
}

}  // namespace

Cache::Cache(const Manifest& manifest) : limit_(manifest.context_length) {
  for (int layer = 0; layer < manifest.num_hidden_layers; layer++) {
    for (const CachePart& part : cache_parts(manifest)) {
      CacheBuffer buffer{part.past(layer), part.present(layer), part.type, {}, nullptr};
      buffer.dims = {1, manifest.num_key_value_heads, 0};
      if (part.width) buffer.dims.push_back(part.width);
      buffers_.push_back(std::move(buffer));
    }
  }
}

Cache::~Cache() {
  for (CacheBuffer& buffer : buffers_) free(buffer.data);
}

Status Cache::reserve(int32_t positions, int32_t filled) {
  if (positions <= capacity_) return {};
  const int64_t blocks = (int64_t{positions} + kBlock - 1) / kBlock;
  const int32_t capacity = static_cast<int32_t>(std::min<int64_t>(blocks * kBlock, limit_));
  capacity_ = 0;
  // One at a time, so that no two copies of the whole are in memory.
  for (CacheBuffer& buffer : buffers_) {
    if (buffer.dims[2] == capacity) continue;
    const size_t bytes = bytes_of(buffer, capacity);
    // Zeros, so that unfilled positions are finite.
    char* data = static_cast<char*>(bytes ? calloc(bytes, 1) : nullptr);
    if (!data) {
      return fail(BITNET_EDGE_MEMORY,
                  "there is no memory for a cache of %d positions; close other apps, or take a "
                  "model with a smaller cache",
                  capacity);
    }
    const int64_t heads = buffer.dims[1];
    const size_t before = bytes_of(buffer, static_cast<int32_t>(buffer.dims[2])) / heads;
    const size_t after = bytes / heads, kept = bytes_of(buffer, filled) / heads;
    for (int64_t head = 0; kept && head < heads; head++) {
      memcpy(data + head * after, static_cast<char*>(buffer.data) + head * before, kept);
    }
    free(buffer.data);
    buffer.data = data;
    buffer.dims[2] = capacity;
    place_++;
  }
  capacity_ = capacity;
  return {};
}

}  // namespace edge
