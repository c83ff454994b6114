// Which values are prefetched. The type is local to each file that includes it.
#pragma once

#include "kernels/attend.h"

namespace bitnet {
namespace {

// The values of later positions, line after line in the order of memory. A loop works on a copy,
// which stays in registers.
template <typename Cache>
struct Ahead {
  const Cache* row;
  size_t at, width, d;
  void next() {
    PREFETCH_STREAM(row + at);
    at += 64 / sizeof(Cache);
    if (at < width) return;
    at = 0;
    row += d;
  }
};

}  // namespace
}  // namespace bitnet
