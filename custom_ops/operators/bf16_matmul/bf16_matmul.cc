#include "operators/bf16_matmul/bf16_matmul.h"

#include "platform/sizes.h"

namespace bitnet {
namespace {

constexpr size_t kSlab = 256;  // activation rows at a time: bounds the scratch

size_t slab_of(size_t m) { return smaller(m, kSlab); }

}  // namespace

size_t bf16_matmul_scratch(size_t m, size_t k) {
  return slab_of(m) * padded(k, kPadBf16) * sizeof(double);
}

void bf16_matmul(const Kernels& kernels, const Bf16MatMul& op, void* scratch, const Pool& pool) {
  if (op.n == 0) return;
  const size_t slab = slab_of(op.m), stride = padded(op.k, kPadBf16), row_bytes = 2 * op.k;
  const size_t rows = rows_per_task_of(op.m, op.n, row_bytes, 4, op.n);
  double* x = static_cast<double*>(scratch);
  for (size_t first = 0; first < op.m; first += slab) {
    const size_t m = smaller(op.m - first, slab);
    for_rows(pool, m, op.k, [&](size_t i) {
      kernels.widen_bf16(op.x + (first + i) * op.k, op.k, stride, x + i * stride);
    });
    parallel(pool, parts(op.n, rows), [&](size_t task) {
      const size_t n0 = task * rows, count = smaller(op.n - n0, rows);
      kernels.bf16_gemv(m, count, op.k, x, stride, op.w + n0 * row_bytes, nullptr,
                        op.y + first * op.n + n0, op.n);
    });
  }
}

}  // namespace bitnet
