// Activation rows by ternary weights that have a scale for each 128 along k.
#pragma once

#include "kernels/format.h"
#include "platform/cpu.h"

namespace bitnet {

// totals[m * stride + n] = sum over g = 0, 1, ... of sum(m, n, g) * scale[n][g], in float64 and in
// this order, from 0; sum(m, n, g) = sum over k of group g of q[m][k] * (code(n, k) - 1). |sum| <=
// 2^15 and a scale has 24 bits, so each product is exact: fused or not, the bits are the same.
// q: m rows of 256 * blocks int8, blocks = ceil(groups / 2), zeros past the last group
// q_sums: m rows of `groups`: the sum of q over each group
// w: n rows of 64 * blocks bytes
// scale: n rows of `groups`, at any address
using TernaryGroup = void(size_t m, size_t n, size_t groups, const int8_t* q, const int32_t* q_sums,
                          const uint8_t* w, const float* scale, double* totals, size_t stride);
// Up to this many rows of q go over the weights together, as these come from memory. More rows go
// over panels that are unpacked once for all.
constexpr size_t kFewRows = 4;

#define KERNEL(isa, needs) TernaryGroup ternary_group_##isa;
#include "kernels/ternary_group/kernels.inc"

}  // namespace bitnet
