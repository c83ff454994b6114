// The limits that the kernels of attention share. A head's keys and values are rows of d elements,
// one for each position.
#pragma once

#include "kernels/format.h"
#include "platform/compiler.h"

namespace bitnet {

// The most rows of one call: heads that share their keys and values.
constexpr size_t kAttendRows = 4;
// Positions that values are prefetched ahead: a few KB.
constexpr size_t kAttendAhead = 16;
// Positions whose values have sums of their own, which are then added up in order.
constexpr size_t kAttendSpan = 64;
// The widest head with int8 keys: a score is the int32 sum of that many products with 16-bit
// integers.
constexpr size_t kAttendDepth = 512;
static_assert(kAttendDepth * 32512 * 128 <= INT32_MAX, "int32 scores");

}  // namespace bitnet
