// y = (x * inverse) * weight with inverse = float32(1 / sqrt(sum of x^2 / k + epsilon)), row by
// row. The sum is float64 in 16 lanes: lane l adds i = l, l+16, ... in this order, then lane l
// takes in l+8, l+4, l+2, l+1; each square is exact. Plain C++, so that every CPU gives the same
// bits. With a residual, sum = x + residual takes the place of x.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pool.h"

namespace bitnet {

struct RmsNorm {
  size_t m, k;
  const float* x;         // [m, k]
  const uint8_t* weight;  // float32 [k], at any address
  float epsilon;
  float* y;               // [m, k]
  const float* residual;  // [m, k], or null
  float* sum;             // [m, k], where there is a residual
};

void rms_norm(const RmsNorm& op, const Pool& pool);

}  // namespace bitnet
