// y = int8(x) * W^T * scale / act_scale for packed ternary weights, without ONNX Runtime.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "platform/pool.h"

namespace bitnet {

struct TernaryMatMul {
  size_t m, k, n;         // 1 <= k <= kMaxK
  const float* x;         // [m, k]
  const uint8_t* w;       // [n, 64 * ceil(k / 256)], packed: kernels/format.h
  const uint8_t* scales;  // float32 [1], or [n] where row_scales, at any address
  bool row_scales;
  float* y;  // [m, n]; a row of x with a NaN or an infinity gives a row of NaN
};

// Bytes of scratch, aligned to 64, that ternary_matmul needs.
size_t ternary_matmul_scratch(size_t m, size_t k);

void ternary_matmul(const Kernels& kernels, const TernaryMatMul& op, void* scratch,
                    const Pool& pool);

// The same of what replaces the rows of x.
struct RowNorm;
void ternary_matmul_of(const RowNorm& norm, const Kernels& kernels, const TernaryMatMul& op,
                       void* scratch, const Pool& pool);

}  // namespace bitnet
