// y = x * W^T with bfloat16 weights, summed in float64 in a fixed order, without ONNX Runtime.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "platform/pool.h"

namespace bitnet {

struct Bf16MatMul {
  size_t m, k, n;    // 1 <= k <= kMaxK
  const float* x;    // [m, k]
  const uint8_t* w;  // [n, k] bfloat16
  float* y;          // [m, n]
};

// Bytes of scratch, aligned to 64, that bf16_matmul needs.
size_t bf16_matmul_scratch(size_t m, size_t k);

void bf16_matmul(const Kernels& kernels, const Bf16MatMul& op, void* scratch, const Pool& pool);

}  // namespace bitnet
