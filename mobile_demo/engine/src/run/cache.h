// The past of one sequence: keys and values by position, in buffers that a step reads and writes in
// place, beyond what counts as filled. Their capacity grows with the sequence.
#pragma once

#include <stdint.h>

#include <string>
#include <vector>

#include "run/graph.h"

namespace edge {

struct CacheBuffer {
  std::string past, present;  // the names of its ports
  Type type;
  std::vector<int64_t> dims;  // [1, heads, capacity] and, but for scales, a width
  void* data = nullptr;
};

class Cache {
 public:
  explicit Cache(const Manifest& manifest);
  ~Cache();
  Cache(const Cache&) = delete;

  const std::vector<CacheBuffer>& buffers() const { return buffers_; }
  // Another number wherever a buffer has moved: what was bound before must not be used.
  uint64_t place() const { return place_; }

  // Makes room for so many positions, at most the context, and keeps the first `filled` ones. The
  // buffers may move. After an error the cache holds what it held.
  Status reserve(int32_t positions, int32_t filled);

 private:
  const int32_t limit_;
  int32_t capacity_ = 0;  // of every buffer; 0 where growing failed half-way
  uint64_t place_ = 0;
  std::vector<CacheBuffer> buffers_;
};

}  // namespace edge
