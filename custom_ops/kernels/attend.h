// Limits of the kernels of attention. A head has a row of d keys and one of d values for each
// position.
#pragma once

#include "kernels/format.h"
#include "platform/compiler.h"

namespace bitnet {

// The most rows of one call. Rows are heads that share their keys and values.
constexpr size_t kAttendRows = 4;
// Keys and values are prefetched this many positions ahead: a few KB.
constexpr size_t kAttendAhead = 16;
// The values of this many positions have a sum of their own. These sums are then added in order.
constexpr size_t kAttendSpan = 64;
// The widest head with int8 keys. A score is the int32 sum of d products with 16-bit integers.
constexpr size_t kAttendDepth = 512;
static_assert(kAttendDepth * 32512 * 128 <= INT32_MAX, "int32 scores");
// A row of an int4 cache: see attend_unpack_int4.h.
constexpr size_t kCacheGroup = 16;
constexpr size_t kCacheBlock = 2 * kCacheGroup;
constexpr size_t kCacheBytes = kCacheGroup + 1;

}  // namespace bitnet
