// One activation row by ternary weights: all rows of them, or some.
#pragma once

#include "kernels/format.h"
#include "platform/cpu.h"

namespace bitnet {

// sums[n] = sum over k of q[k] * (code(n, k) - 1), q_sum = sum over k of q[k]
// q: 256 * blocks int8; w: rows of 64 * blocks bytes
using TernaryGemv = void(size_t rows, size_t blocks, const int8_t* q, int32_t q_sum,
                         const uint8_t* w, int32_t* sums);

// sums[i] = sum over k of q[k] * (code(index[i], k) - 1) for i < count
// The same for the rows of w that `index` names, in ascending order. It names `known` rows, at
// least `count`. Those from `count` on come next and are prefetched.
using TernarySelect = void(size_t count, size_t known, size_t blocks, const int8_t* q,
                           int32_t q_sum, const uint8_t* w, const int32_t* index, int32_t* sums);

#define KERNEL(isa, needs)        \
  TernaryGemv ternary_gemv_##isa; \
  TernarySelect ternary_select_##isa;
#include "kernels/ternary_gemv/kernels.inc"

}  // namespace bitnet
