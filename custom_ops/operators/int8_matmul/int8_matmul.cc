#include "operators/int8_matmul/int8_matmul.h"

#include "operators/wide_sums.h"

namespace bitnet {
namespace {

size_t slab_of(size_t m) { return smaller(m, kWideSlab); }

}  // namespace

size_t int8_matmul_scratch(size_t m, size_t k) {
  return slab_of(m) * (padded(k, kPadInt8) * sizeof(int16_t) + sizeof(float));
}

void int8_matmul(const Kernels& kernels, const Int8MatMul& op, void* scratch, const Pool& pool) {
  if (op.m == 0 || op.n == 0) return;
  const size_t slab = slab_of(op.m), stride = padded(op.k, kPadInt8);
  const size_t tall = smaller(op.m, kInt8Rows),
               rows = rows_per_task_of(op.m, op.n, op.k, 4, kWideSums / tall);
  int16_t* q = static_cast<int16_t*>(scratch);
  float* inverse = reinterpret_cast<float*>(q + slab * stride);
  for (size_t first = 0; first < op.m; first += slab) {
    const size_t m = smaller(op.m - first, slab);
    for_rows(pool, m, op.k, [&](size_t i) {
      inverse[i] =
          1.0f / kernels.quantize_int16(op.x + (first + i) * op.k, op.k, stride, q + i * stride);
    });
    parallel(pool, parts(op.n, rows), [&](size_t task) {
      int64_t sums[kWideSums];
      const size_t n0 = task * rows, count = smaller(op.n - n0, rows);
      for (size_t i0 = 0; i0 < m; i0 += kInt8Rows) {
        const size_t here = smaller(kInt8Rows, m - i0);
        kernels.int8_gemv(here, count, op.k, q + i0 * stride, stride, op.w + n0 * op.k, sums,
                          count);
        scale_wide_sums(here, count, sums, op.scale + n0, inverse + i0,
                        op.y + (first + i0) * op.n + n0, op.n);
      }
    });
  }
}

}  // namespace bitnet
