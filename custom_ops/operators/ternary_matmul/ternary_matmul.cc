#include "operators/ternary_matmul/ternary_matmul.h"

#include "operators/ternary_matmul/int8_rows.h"

namespace bitnet {
namespace {

constexpr size_t kFewSums = 4096;  // int32 sums that a task of few rows keeps on its stack

void scale(const Kernels& kernels, const TernaryMatMul& op, float act_scale, size_t count,
           size_t n0, const int32_t* sums, float* y) {
  if (op.row_scales) {
    kernels.scale_sums_each(count, sums, op.scales + n0 * sizeof(float), act_scale, y);
  } else {
    kernels.scale_sums(count, sums, load_float(op.scales, 0) / act_scale, y);
  }
}

// Few activation rows: the weights are read once, from memory, and tasks split only these.
void few(const Kernels& kernels, const TernaryMatMul& op, const Int8Rows& rows, float* y,
         const Pool& pool) {
  const size_t row_bytes = rows.blocks * kBlockBytes;
  const size_t each = rows_per_task(op.n, row_bytes, 4, kFewSums / rows.m);
  parallel(pool, parts(op.n, each), [&](size_t task) {
    int32_t sums[kFewSums];
    const size_t n0 = task * each, count = smaller(each, op.n - n0);
    const uint8_t* w = op.w + n0 * row_bytes;
    kernels.ternary_few(rows.m, count, rows.blocks, rows.q, rows.q_sums, w, nullptr, sums, count);
    for (size_t i = 0; i < rows.m; i++) {
      scale(kernels, op, rows.act_scales[i], count, n0, sums + i * count, y + i * op.n + n0);
    }
  });
}

void gemm(const Kernels& kernels, const TernaryMatMul& op, const Int8Rows& rows, float* y,
          const Pool& pool) {
  const size_t width = rows.blocks * kBlockK, row_bytes = rows.blocks * kBlockBytes;
  if (in_place(kernels)) {
    each_in_place(kernels, rows, op.n, pool, [&](size_t i0, size_t m, size_t n0, size_t count) {
      int32_t* sums = reinterpret_cast<int32_t*>(y + i0 * op.n + n0);
      kernels.ternary_gemm(m, count, rows.blocks, rows.q + i0 * width, rows.q_sums + i0,
                           op.w + n0 * row_bytes, sums, op.n);
      for (size_t i = 0; i < m; i++) {
        scale(kernels, op, rows.act_scales[i0 + i], count, n0, sums + i * op.n,
              y + (i0 + i) * op.n + n0);
      }
    });
    return;
  }
  each_rectangle(rows, op.n, pool, [&](size_t i0, size_t m, size_t n0, size_t count) {
    int32_t sums[kSums];
    kernels.ternary_gemm(m, count, rows.blocks, rows.q + i0 * width, rows.q_sums + i0,
                         op.w + n0 * row_bytes, sums, count);
    for (size_t i = 0; i < m; i++) {
      float* to = y + (i0 + i) * op.n + n0;
      prefetch_row(to + kAhead * op.n, count);
      scale(kernels, op, rows.act_scales[i0 + i], count, n0, sums + i * count, to);
    }
  });
}

}  // namespace

size_t ternary_matmul_scratch(size_t m, size_t k) { return int8_rows_scratch(m, k); }

void ternary_matmul(const Kernels& kernels, const TernaryMatMul& op, void* scratch,
                    const Pool& pool) {
  ternary_matmul_of(RowNorm{}, kernels, op, scratch, pool);
}

void ternary_matmul_of(const RowNorm& norm, const Kernels& kernels, const TernaryMatMul& op,
                       void* scratch, const Pool& pool) {
  if (op.n == 0) return;
  for (size_t first = 0; first < op.m; first += kSlab) {
    const size_t m = smaller(kSlab, op.m - first);
    const Int8Rows rows = int8_rows(kernels, op.x + first * op.k, m, op.k, scratch, pool, norm);
    float* y = op.y + first * op.n;
    if (m <= kernels.few_rows)
      few(kernels, op, rows, y, pool);
    else
      gemm(kernels, op, rows, y, pool);
  }
}

}  // namespace bitnet
