// Activation rows by bfloat16 weights.
#pragma once

#include "kernels/format.h"
#include "platform/cpu.h"

namespace bitnet {

// y[i * stride + n] = float32(sum over k of x[i][k] * w[n][k]) for i < m, n < rows. The sum has 16
// float64 lanes: lane l adds k = l, l+16, ... in this order, then lane l takes in l+8, l+4, l+2,
// l+1. Each product is exact.
// w: rows of k bfloat16
// next: a row like those of w that is fetched while the last one is read, or null
// x: m rows of float64, x_stride from row to row; in each 16 the 8 even k come before the 8 odd
// ones
using Bf16Gemv = void(size_t m, size_t rows, size_t k, const double* x, size_t x_stride,
                      const uint8_t* w, const uint8_t* next, float* y, size_t stride);

#define KERNEL(isa, needs) Bf16Gemv bf16_gemv_##isa;
#include "kernels/bf16_gemv/kernels.inc"

}  // namespace bitnet
