// One activation row by bfloat16 weights.
#pragma once

#include "kernels/format.h"
#include "platform/cpu.h"

namespace bitnet {

// y[n] = float32(sum over k of x[k] * w[n][k]). The sum has 16 float64 lanes: lane l adds k = l,
// l+16, ... in this order, then lane l takes in l+8, l+4, l+2, l+1. Each product is exact.
// w: rows of k bfloat16
// x: float64; in each 16 the 8 even k come before the 8 odd ones
using Bf16Gemv = void(size_t rows, size_t k, const double* x, const uint8_t* w, float* y);

#define KERNEL(isa, needs) Bf16Gemv bf16_gemv_##isa;
#include "kernels/bf16_gemv/kernels.inc"

}  // namespace bitnet
