#include "operators/int8_matmul/int8_matmul.h"

#include "platform/sizes.h"

namespace bitnet {
namespace {

constexpr size_t kSlab = 256;   // activation rows at a time: bounds the scratch
constexpr size_t kSums = 2048;  // int64 sums that a task keeps on its stack

size_t slab_of(size_t m) { return smaller(m, kSlab); }

}  // namespace

size_t int8_matmul_scratch(size_t m, size_t k) {
  return slab_of(m) * (padded(k, kPadInt8) * sizeof(int16_t) + sizeof(float));
}

void int8_matmul(const Kernels& kernels, const Int8MatMul& op, void* scratch, const Pool& pool) {
  if (op.m == 0 || op.n == 0) return;
  const size_t slab = slab_of(op.m), stride = padded(op.k, kPadInt8);
  const size_t tall = smaller(op.m, kInt8Rows), rows = rows_per_task(op.n, op.k, 4, kSums / tall);
  int16_t* q = static_cast<int16_t*>(scratch);
  float* inverse = reinterpret_cast<float*>(q + slab * stride);
  for (size_t first = 0; first < op.m; first += slab) {
    const size_t m = smaller(op.m - first, slab);
    for (size_t i = 0; i < m; i++) {
      inverse[i] =
          1.0f / kernels.quantize_int16(op.x + (first + i) * op.k, op.k, stride, q + i * stride);
    }
    parallel(pool, parts(op.n, rows), [&](size_t task) {
      int64_t sums[kSums];
      const size_t n0 = task * rows, count = smaller(op.n - n0, rows);
      for (size_t i0 = 0; i0 < m; i0 += kInt8Rows) {
        const size_t here = smaller(kInt8Rows, m - i0);
        kernels.int8_gemv(here, count, op.k, q + i0 * stride, stride, op.w + n0 * op.k, sums,
                          count);
        for (size_t i = 0; i < here; i++) {
          float* y = op.y + (first + i0 + i) * op.n + n0;
          for (size_t n = 0; n < count; n++) {
            const float sum = static_cast<float>(sums[i * count + n]);
            y[n] = sum * load_float(op.scale, n0 + n) * inverse[i0 + i];
          }
        }
      }
    });
  }
}

}  // namespace bitnet
