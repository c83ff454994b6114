// For all but scalar and AVX-512: how many activation rows of a GEMM are done at a time, so that
// their sums stay in the first cache, and how columns are read: this many at a time, all blocks of
// them, while the next ones are prefetched.
#pragma once

#include "kernels/format.h"
#include "platform/compiler.h"

namespace bitnet {

static constexpr size_t kSlice = 128;
static constexpr size_t kColumns = 128;

// A sixteenth of the prefetches of a block of the next columns, `part` of 16. They come between
// products, so that memory and arithmetic overlap.
static inline void prefetch_columns(size_t part, size_t depth, const uint8_t* const* column,
                                    size_t at) {
  for (size_t c = part * depth / 16; c < (part + 1) * depth / 16; c++) {
    PREFETCH(column[kColumns + c] + at);
  }
}

}  // namespace bitnet
