// One activation row of 16-bit integers by int8 weights.
#pragma once

#include "kernels/format.h"
#include "platform/cpu.h"

namespace bitnet {

// sums[n] = sum over k of q[k] * w[n][k]; |q| <= 32512
// w: rows of k int8
using Int8Gemv = void(size_t rows, size_t k, const int16_t* q, const uint8_t* w, int64_t* sums);

#define KERNEL(isa, needs) Int8Gemv int8_gemv_##isa;
#include "kernels/int8_gemv/kernels.inc"

}  // namespace bitnet
