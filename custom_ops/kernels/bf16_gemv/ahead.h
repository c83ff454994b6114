// What the kernels of all but scalar fetch while they multiply R weight rows.
#pragma once

#include "platform/compiler.h"

namespace bitnet {

// A line of rows that follow, or of a single row, which may lie anywhere: the second cache takes
// such a line in faster than the first.
template <int R>
static INLINE void fetch(const uint8_t* line) {
  if (R > 1) {
    PREFETCH_STREAM(line);
  } else {
    PREFETCH_FAR(line);
  }
}

}  // namespace bitnet
