// y = x * W^T for packed ternary weights with a scale for each 128 along k, without ONNX Runtime.
//
// total(v) = sum over g = 0, 1, ... of (sum over k of group g of v[k] * code) * scale[n][g]
//
// in float64 and in this order. The inner sums are exact integers, so every CPU gives the same
// bits.
//
// group:  v = int8(x), one scale a row:  y = float32(total(v) / act_scale)
// float:  v of 31 bits as four int8 digits:
//           y = float32((((total(v3) * 256 + total(v2)) * 256 + total(v1)) * 256 + total(v0)) / s)
//
// `float` is for models that do not quantize activations: |y - exact| is at most 2^-31 * max|x| *
// sum |scale * code|, plus float64 roundings and the last one to float32.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "platform/pool.h"

namespace bitnet {

struct TernaryGroupMatMul {
  size_t m, k, n;      // k a multiple of kGroupK, at most kMaxK
  const float* x;      // [m, k]
  const uint8_t* w;    // [n, 64 * ceil(k / 256)], packed: kernels/format.h
  const float* scale;  // [n, k / kGroupK]
  float* y;            // [m, n]; a row of x with a NaN or an infinity gives a row of NaN
};

// Bytes of scratch, aligned to 64, that ternary_group_matmul needs.
size_t ternary_group_matmul_scratch(size_t m, size_t k);
void ternary_group_matmul(const Kernels& kernels, const TernaryGroupMatMul& op, void* scratch,
                          const Pool& pool);

// The same for ternary_float_matmul.
size_t ternary_float_matmul_scratch(size_t m, size_t k);
void ternary_float_matmul(const Kernels& kernels, const TernaryGroupMatMul& op, void* scratch,
                          const Pool& pool);

}  // namespace bitnet
