// y = x * W^T with bfloat16 weights, without ONNX Runtime. A copy of W of 4 or 6 bits a weight is
// scanned, and the rows of W are read whose result may be among the 64 largest: the scan's error is
// taken to be at most `bound`, which is statistical with 4 bits and proven with 6. The rows are the
// same on every CPU.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "operators/two_step_matmul/rescore.h"

namespace bitnet {

// So many results of the scan, the largest, are computed to learn how large the 64 largest are.
constexpr size_t kFirst = 128;

struct TwoStepLevelMatMul {
  int bits;              // 4 or 6
  size_t m, k, n;        // 1 <= k <= kMaxK
  const float* x;        // [m, k]
  const uint8_t* w;      // [n, k] bfloat16
  const uint8_t* codes;  // codes, levels and scale are those of LevelMatMul
  const uint8_t* levels;
  const float* scale;        // [n]
  const float* bound;        // [n]: by slack(x), eight standard deviations of the scan's error, or
                             // by split slack(x), with 6 bits, more than this error
  float* y;                  // [m, n]; a row of x with a NaN or an infinity gives a row of NaN
  Count* skipped = nullptr;  // gets the bytes of w that are not read, if not null
};

// Bytes of scratch, aligned to 64, that two_step_level_matmul needs.
size_t two_step_level_matmul_scratch(size_t m, size_t k);

void two_step_level_matmul(const Kernels& kernels, const TwoStepLevelMatMul& op, void* scratch,
                           const Pool& pool);

}  // namespace bitnet
