// What is fetched ahead of a weight row: bytes where all rows are read, and how many of some rows.
#pragma once

#include "platform/compiler.h"

namespace bitnet {

static constexpr size_t kAhead = 8192;

#if BITNET_X86
static constexpr size_t kRowsAhead = 32;
// The first cache takes lines in at half the rate of the second, and drops some before their turn.
static INLINE void fetch(const uint8_t* line) { PREFETCH_FAR(line); }
#else
static constexpr size_t kRowsAhead = 12;
static INLINE void fetch(const uint8_t* line) { PREFETCH(line); }
#endif

}  // namespace bitnet
