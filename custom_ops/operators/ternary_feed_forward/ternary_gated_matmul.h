// y = relu(g)^2 * u with g = int8(x) * G^T * gate_scale / act_scale and u = int8(x) * U^T *
// up_scale / act_scale for packed ternary weights, without ONNX Runtime. Where relu(g)^2 is 0, y is
// +0 and the row of U is not read.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "platform/count.h"
#include "platform/pool.h"

namespace bitnet {

struct TernaryGatedMatMul {
  size_t m, k, n;             // 1 <= k <= kMaxK
  const float* x;             // [m, k]
  const uint8_t *gate, *up;   // [n, 64 * ceil(k / 256)], packed: kernels/format.h
  const uint8_t* gate_scale;  // float32 [1], at any address
  const uint8_t* up_scale;    // float32 [1], at any address
  float* y;                   // [m, n]; a row of x with a NaN or an infinity gives a row of NaN
  Count* skipped = nullptr;   // gets the bytes of up that are not read, if not null
};

// Bytes of scratch, aligned to 64, that ternary_gated_matmul needs.
size_t ternary_gated_matmul_scratch(size_t m, size_t k);

void ternary_gated_matmul(const Kernels& kernels, const TernaryGatedMatMul& op, void* scratch,
                          const Pool& pool);

}  // namespace bitnet
