#include "operators/two_step_matmul/two_step_level_matmul.h"

#include "operators/level_matmul/level_matmul.h"

namespace bitnet {
namespace {

static_assert(kKeep <= kFirst, "room for both heaps");

void second_step(const Kernels& kernels, const TwoStepLevelMatMul& op, const double* x, float slack,
                 float* y, float* heaps, const Pool& pool) {
  const float reach = largest(kFirst, op.n, heaps, pool, [&](size_t n) { return y[n]; });
  const Rescore rows = {op.k, op.n, op.w, x, y, op.skipped};
  const float least =
      largest_of_parts(kKeep, op.n, heaps, pool, [&](size_t begin, size_t end, float* heap) {
        const auto first = [&](size_t n) { return y[n] >= reach; };
        read_rows(kernels, rows, begin, end, first, [&](size_t, float exact) {
          if (exact > heap[0]) replace_first(heap, kKeep, exact);
        });
      });
  rescore(kernels, rows, pool, [&](size_t n) {
    return !((y[n] < reach) & (y[n] + load_float(op.bound, n) * slack < least));
  });
}

}  // namespace

// For the scan; after it for the second step.
size_t two_step_level_matmul_scratch(size_t m, size_t k) {
  return larger(level_matmul_scratch(m, k), second_step_bytes(k, kFirst));
}

void two_step_level_matmul(const Kernels& kernels, const TwoStepLevelMatMul& op, void* scratch,
                           const Pool& pool) {
  if (op.n == 0) return;
  level_matmul(kernels,
               {.bits = op.bits,
                .m = op.m,
                .k = op.k,
                .n = op.n,
                .x = op.x,
                .w = op.codes,
                .levels = op.levels,
                .scale = op.scale,
                .y = op.y},
               scratch, pool);
  const SecondStep step = second_step_of(scratch, op.k);
  for (size_t i = 0; i < op.m; i++) {
    const float* x = op.x + i * op.k;
    const float slack = (op.bits == 4 ? slack_of : split_slack_of)(kernels, x, op.k, step.q);
    if (slack != slack) continue;
    kernels.widen_bf16(x, op.k, padded(op.k, kPadBf16), step.x);
    second_step(kernels, op, step.x, slack, op.y + i * op.n, step.heaps, pool);
  }
}

}  // namespace bitnet
