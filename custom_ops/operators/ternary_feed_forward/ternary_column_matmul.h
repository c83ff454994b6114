// ternary_matmul for weights stored by column, without ONNX Runtime: the weights that meet a zero
// activation are not read.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "platform/count.h"
#include "platform/pool.h"

namespace bitnet {

struct TernaryColumnMatMul {
  size_t m, k, n;    // 1 <= k <= kMaxK
  const float* x;    // [m, k]
  const uint8_t* w;  // [k, 64 * ceil(n / 256)]: the transposed matrix, packed: kernels/format.h
  const uint8_t* scales;     // float32 [n], at any address
  float* y;                  // [m, n]; a row of x with a NaN or an infinity gives a row of NaN
  Count* skipped = nullptr;  // gets the bytes of w that are not read, if not null
};

// Bytes of scratch, aligned to 64, that ternary_column_matmul needs.
size_t ternary_column_matmul_scratch(size_t m, size_t k, size_t n);

void ternary_column_matmul(const Kernels& kernels, const TernaryColumnMatMul& op, void* scratch,
                           const Pool& pool);

}  // namespace bitnet
