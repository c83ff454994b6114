#include "operators/ternary_matmul/ternary_norm_matmul.h"

#include "operators/rms_norm/rms_norm.h"
#include "operators/ternary_matmul/int8_rows.h"

namespace bitnet {

size_t ternary_norm_matmul_scratch(const TernaryNormMatMul& op) {
  const size_t m = op.matmul.m, k = op.matmul.k;
  return (op.normed ? 0 : row_norm_scratch(m, k)) + ternary_matmul_scratch(m, k);
}

void ternary_norm_matmul(const Kernels& kernels, const TernaryNormMatMul& op, void* scratch,
                         const Pool& pool) {
  TernaryMatMul matmul = op.matmul;
  if (op.normed) {
    rms_norm(kernels,
             {.m = matmul.m,
              .k = matmul.k,
              .x = matmul.x,
              .weight = op.norm,
              .epsilon = op.epsilon,
              .y = op.normed},
             pool);
    matmul.x = op.normed;
    return ternary_matmul(kernels, matmul, scratch, pool);
  }
  const RowNorm norm = {op.norm, op.epsilon, static_cast<float*>(scratch)};
  void* rest = static_cast<char*>(scratch) + row_norm_scratch(matmul.m, matmul.k);
  ternary_matmul_of(norm, kernels, matmul, rest, pool);
}

}  // namespace bitnet
