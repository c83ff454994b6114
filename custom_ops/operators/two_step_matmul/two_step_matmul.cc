#include "operators/two_step_matmul/two_step_matmul.h"

#include "operators/int8_matmul/int8_matmul.h"
#include "operators/two_step_matmul/rescore.h"

namespace bitnet {

// For the scan. After it: x in float64 and q, and the heaps.
size_t two_step_matmul_scratch(size_t m, size_t k) {
  const size_t scan = int8_matmul_scratch(m, k);
  const size_t rest =
      padded(k, kPadInt8) * (sizeof(double) + sizeof(int16_t)) + kParts * kKeep * sizeof(float);
  return scan > rest ? scan : rest;
}

void two_step_matmul(const Kernels& kernels, const TwoStepMatMul& op, void* scratch,
                     const Pool& pool) {
  if (op.n == 0) return;
  int8_matmul(
      kernels,
      {.m = op.m, .k = op.k, .n = op.n, .x = op.x, .w = op.scan, .scale = op.scale, .y = op.y},
      scratch, pool);
  const size_t stride = padded(op.k, kPadInt8);
  double* wide = static_cast<double*>(scratch);
  int16_t* q = reinterpret_cast<int16_t*>(wide + stride);
  float* heaps = reinterpret_cast<float*>(q + stride);
  for (size_t i = 0; i < op.m; i++) {
    const float* x = op.x + i * op.k;
    float* y = op.y + i * op.n;
    const float slack = slack_of(kernels, x, op.k, q);
    if (slack != slack) continue;
    const float least = largest(kKeep, op.n, heaps, pool,
                                [&](size_t n) { return y[n] - load_float(op.bound, n) * slack; });
    kernels.widen_bf16(x, op.k, padded(op.k, kPadBf16), wide);
    rescore(kernels, {op.k, op.n, op.w, wide, y, op.skipped}, pool,
            [&](size_t n) { return !(y[n] + load_float(op.bound, n) * slack < least); });
  }
}

}  // namespace bitnet
