#include "operators/ternary_matmul/ternary_norm_matmul.h"

#include "operators/rms_norm/rms_norm.h"
#include "platform/sizes.h"

namespace bitnet {

static size_t normed_bytes(const TernaryNormMatMul& op) {
  return op.normed ? 0 : padded(op.matmul.m * op.matmul.k * sizeof(float), 64);
}

size_t ternary_norm_matmul_scratch(const TernaryNormMatMul& op) {
  return normed_bytes(op) + ternary_matmul_scratch(op.matmul.m, op.matmul.k);
}

void ternary_norm_matmul(const Kernels& kernels, const TernaryNormMatMul& op, void* scratch,
                         const Pool& pool) {
  TernaryMatMul matmul = op.matmul;
  float* normed = op.normed ? op.normed : static_cast<float*>(scratch);
  rms_norm(kernels,
           {.m = matmul.m,
            .k = matmul.k,
            .x = matmul.x,
            .weight = op.norm,
            .epsilon = op.epsilon,
            .y = normed},
           pool);
  matmul.x = normed;
  ternary_matmul(kernels, matmul, static_cast<char*>(scratch) + normed_bytes(op), pool);
}

}  // namespace bitnet
