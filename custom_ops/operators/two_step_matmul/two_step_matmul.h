// y = x * W^T with bfloat16 weights, without ONNX Runtime. The 64 largest results of a row are
// exact. An int8 copy of W is scanned; only the rows of W that its error leaves in question are
// read. These are the same rows on every CPU.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "operators/two_step_matmul/rescore.h"

namespace bitnet {

struct TwoStepMatMul {
  size_t m, k, n;            // 1 <= k <= kMaxK
  const float* x;            // [m, k]
  const uint8_t* w;          // [n, k] bfloat16
  const uint8_t* scan;       // [n, k] int8: w is about scan * scale
  const float* scale;        // [n]
  const float* bound;        // [n]: |Int8MatMul(x) - Bf16MatMul(x)| <= bound[n] * slack(x)
  float* y;                  // [m, n]; a row of x with a NaN or an infinity gives a row of NaN
  Count* skipped = nullptr;  // gets the bytes of w that are not read, if not null
};

// Bytes of scratch, aligned to 64, that two_step_matmul needs.
size_t two_step_matmul_scratch(size_t m, size_t k);

void two_step_matmul(const Kernels& kernels, const TwoStepMatMul& op, void* scratch,
                     const Pool& pool);

}  // namespace bitnet
