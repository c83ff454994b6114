// The RMSNorm of x, and ternary_matmul of the result, without ONNX Runtime.
#pragma once

#include "operators/ternary_matmul/ternary_matmul.h"

namespace bitnet {

struct TernaryNormMatMul {
  TernaryMatMul matmul;  // of the norm of its x
  const uint8_t* norm;   // float32 [k], at any address
  float epsilon;
  float* normed;  // [m, k], or null: what w is multiplied with
};

// Bytes of scratch, aligned to 64, that ternary_norm_matmul needs.
size_t ternary_norm_matmul_scratch(const TernaryNormMatMul& op);

void ternary_norm_matmul(const Kernels& kernels, const TernaryNormMatMul& op, void* scratch,
                         const Pool& pool);

}  // namespace bitnet
