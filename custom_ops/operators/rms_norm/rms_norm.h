// RMSNorm, row by row: kernels/rows/rows.h has the formula.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "platform/pool.h"

namespace bitnet {

struct RmsNorm {
  size_t m, k;
  const float* x;         // [m, k]
  const uint8_t* weight;  // float32 [k], at any address
  float epsilon;
  float* y;                         // [m, k], may be x
  const float* residual = nullptr;  // [m, k], or null
  float* sum = nullptr;             // [m, k], where there is a residual
};

void rms_norm(const Kernels& kernels, const RmsNorm& op, const Pool& pool);

}  // namespace bitnet
