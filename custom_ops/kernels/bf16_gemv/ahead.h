// What the kernels of all but scalar fetch while they multiply R weight rows.
#pragma once

#include "platform/compiler.h"

namespace bitnet {

// A line of rows that follow, or of a single row, which may lie anywhere: the second cache takes
// lines in faster than the first. Of rows that follow that was not measured on Arm.
template <int R>
static INLINE void fetch(const uint8_t* line) {
  if (R > 1 && BITNET_ARM) {
    PREFETCH(line);
  } else {
    PREFETCH_FAR(line);
  }
}

}  // namespace bitnet
