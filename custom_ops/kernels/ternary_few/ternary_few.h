// Few activation rows by ternary weights: each weight is read and unpacked once for all of them.
#pragma once

#include "kernels/format.h"
#include "platform/cpu.h"

namespace bitnet {

constexpr size_t kFewActivations = 16;
// Zen 4 multiplies half as often as Zen 5, but looks up as often: more rows are for its tables.
constexpr size_t kFewLeast = 8;

// sums[i * stride + n] = sum over k of q[i][k] * (code(index[n], k) - 1) for i < m, n < count
// m: 1 to kFewActivations
// q: m rows of 256 * blocks int8; q_sums[i] = sum of q[i]
// w: rows of 64 * blocks bytes; index: ascending, or null for the rows 0, 1, ...
using TernaryFew = void(size_t m, size_t count, size_t blocks, const int8_t* q,
                        const int32_t* q_sums, const uint8_t* w, const int32_t* index,
                        int32_t* sums, size_t stride);

// sums[i * stride + n] = sum over c < count of q[i][c] * (code(index[c], n) - 1) for
// n < 256 * blocks, i < m
// q: m rows of q_stride int8, zeros from `count` to a multiple of 4, of 256 where index is null
// q_sums[i] = sum of the first `count` of q[i]
// w: columns, rows of 64 * blocks bytes; index: ascending, or null for the rows 0, 1, ...
using TernaryColumnsFew = void(size_t m, size_t count, size_t blocks, const int8_t* q,
                               size_t q_stride, const int32_t* q_sums, const uint8_t* w,
                               const int32_t* index, int32_t* sums, size_t stride);

#define KERNEL(isa, needs)      \
  TernaryFew ternary_few_##isa; \
  TernaryColumnsFew ternary_columns_few_##isa;
#include "kernels/ternary_few/kernels.inc"

}  // namespace bitnet
