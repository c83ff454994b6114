// y = x * W^T with bfloat16 weights, exact where it is among the 64 largest of a row of y, without
// ONNX Runtime. An int8 copy of W is scanned; only rows of W that its error leaves in question are
// read. Which ones that are is the same on every CPU.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "platform/count.h"
#include "platform/pool.h"

namespace bitnet {

// Results of a row that are surely exact: transformers samples from the 50 largest by default.
constexpr size_t kKeep = 64;

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
