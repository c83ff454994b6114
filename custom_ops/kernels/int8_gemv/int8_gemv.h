// A few activation rows of 16-bit integers by int8 weights.
#pragma once

#include "kernels/format.h"
#include "platform/cpu.h"

namespace bitnet {

constexpr size_t kInt8Rows = 16;

// sums[i * stride + n] = sum over k of q[i][k] * w[n][k] for i < m, n < rows; |q| <= 32512
// m: 1 to kInt8Rows
// q: m rows, q_stride int16 from row to row; w: rows of k int8
using Int8Gemv = void(size_t m, size_t rows, size_t k, const int16_t* q, size_t q_stride,
                      const uint8_t* w, int64_t* sums, size_t stride);

#define KERNEL(isa, needs) Int8Gemv int8_gemv_##isa;
#include "kernels/int8_gemv/kernels.inc"

}  // namespace bitnet
