// Few activation rows by ternary weights, where each row needs only the sums whose gates it opens.
// A row of weights is for half of them then; fetched is every row, in the order of memory.
#pragma once

#include "kernels/format.h"
#include "kernels/ternary_few/ternary_few.h"
#include "platform/cpu.h"

namespace bitnet {

// sums[i * stride + n] = sum over k of q[i][k] * (code(n, k) - 1) where relu(gate)^2 is not 0 with
// gate = gates[i * gates_stride + n], and 0 elsewhere, for i < m, n < count
// m: 1 to kFewActivations
// q: m rows of 256 * blocks int8; q_sums[i] = sum of q[i]
// w: rows of 64 * blocks bytes
using TernaryOpen = void(size_t m, size_t count, size_t blocks, const int8_t* q,
                         const int32_t* q_sums, const uint8_t* w, const float* gates,
                         size_t gates_stride, int32_t* sums, size_t stride);

#define KERNEL(isa, needs) TernaryOpen ternary_open_##isa;
#include "kernels/ternary_open/kernels.inc"

}  // namespace bitnet
