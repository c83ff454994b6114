// y = int16(x) * W^T * scale[n] / act_scale with int8 weights, without ONNX Runtime.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "platform/pool.h"

namespace bitnet {

struct Int8MatMul {
  size_t m, k, n;      // 1 <= k <= kMaxK
  const float* x;      // [m, k]
  const uint8_t* w;    // [n, k] int8
  const float* scale;  // [n]
  float* y;            // [m, n]; a row of x with a NaN or an infinity gives a row of NaN
};

// Bytes of scratch, aligned to 64, that int8_matmul needs.
size_t int8_matmul_scratch(size_t m, size_t k);

void int8_matmul(const Kernels& kernels, const Int8MatMul& op, void* scratch, const Pool& pool);

}  // namespace bitnet
