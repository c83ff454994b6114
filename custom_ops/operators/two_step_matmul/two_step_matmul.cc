#include "operators/two_step_matmul/two_step_matmul.h"

#include "operators/int8_matmul/int8_matmul.h"
#include "operators/two_step_matmul/rescore.h"

namespace bitnet {

// For the scan; after it for the second step.
size_t two_step_matmul_scratch(size_t m, size_t k) {
  return larger(int8_matmul_scratch(m, k), second_step_bytes(k, kKeep));
}

void two_step_matmul(const Kernels& kernels, const TwoStepMatMul& op, void* scratch,
                     const Pool& pool) {
  if (op.n == 0) return;
  int8_matmul(
      kernels,
      {.m = op.m, .k = op.k, .n = op.n, .x = op.x, .w = op.scan, .scale = op.scale, .y = op.y},
      scratch, pool);
  const SecondStep step = second_step_of(scratch, op.k);
  for (size_t i = 0; i < op.m; i++) {
    const float* x = op.x + i * op.k;
    float* y = op.y + i * op.n;
    const float slack = slack_of(kernels, x, op.k, step.q);
    if (slack != slack) continue;
    const float least = largest(kKeep, op.n, step.heaps, pool,
                                [&](size_t n) { return y[n] - load_float(op.bound, n) * slack; });
    kernels.widen_bf16(x, op.k, padded(op.k, kPadBf16), step.x);
    rescore(kernels, {op.k, op.n, op.w, step.x, y, op.skipped}, pool,
            [&](size_t n) { return !(y[n] + load_float(op.bound, n) * slack < least); });
  }
}

}  // namespace bitnet
