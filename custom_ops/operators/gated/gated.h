// The activation of a gate times another linear's result: kernels/rows/rows.h has the formulas.
#pragma once

#include <stddef.h>

#include "kernels/kernels.h"
#include "platform/pool.h"

namespace bitnet {

struct Gated {
  size_t count;
  const float* gate;  // [count]
  const float* up;    // [count]
  float* y;           // [count]
  bool gelu;          // or else silu
};

void gated(const Kernels& kernels, const Gated& op, const Pool& pool);

}  // namespace bitnet
