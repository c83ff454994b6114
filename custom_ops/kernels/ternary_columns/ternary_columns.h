// Some columns of ternary weights by one activation each.
#pragma once

#include "kernels/format.h"
#include "platform/cpu.h"

namespace bitnet {

// sums[n] = sum over i < count of q[i] * (code(index[i], n) - 1) for n < 256 * blocks
// w: rows of 64 * blocks bytes; index: at most kMaxK of them, ascending; q: any int8
using TernaryColumns = void(size_t count, size_t blocks, const int32_t* index, const int8_t* q,
                            const uint8_t* w, int32_t* sums);

#define KERNEL(isa, needs) TernaryColumns ternary_columns_##isa;
#include "kernels/ternary_columns/kernels.inc"

}  // namespace bitnet
