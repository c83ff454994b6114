#include "operators/ternary_feed_forward/ternary_column_matmul.h"

#include "operators/ternary_matmul/int8_rows.h"

namespace bitnet {
namespace {

constexpr size_t kMaxParts = 8;  // tasks that share the columns of one activation row
constexpr size_t kWorkers = 16;  // tasks at a time that have room for their sums

// Scratch of `few`: sums [kMaxParts, padded n], index [k], values [k], q [padded k].
void few(const Kernels& kernels, const TernaryColumnMatMul& op, size_t i, void* scratch,
         const Pool& pool) {
  const size_t width = padded(op.n, kBlockK), row_bytes = blocks_of(op.n) * kBlockBytes;
  int32_t* sums = static_cast<int32_t*>(scratch);
  int32_t* index = sums + kMaxParts * width;
  int8_t* values = reinterpret_cast<int8_t*>(index + op.k);
  int8_t* q = values + op.k;
  int32_t q_sum;
  const float act_scale =
      kernels.quantize_int8(op.x + i * op.k, op.k, padded(op.k, kBlockK), q, &q_sum);
  size_t count = 0;
  for (size_t k = 0; k < op.k; k++) {
    index[count] = static_cast<int32_t>(k);
    values[count] = q[k];
    count += q[k] != 0;
  }
  add_to(op.skipped, (op.k - count) * row_bytes);
  const size_t worth = count * row_bytes / kTaskBytes + 1;
  const size_t tasks = worth < kMaxParts ? worth : kMaxParts, share = parts(count, tasks);
  parallel(pool, tasks, [&](size_t task) {
    const size_t begin = smaller(task * share, count), end = smaller(begin + share, count);
    kernels.ternary_columns(end - begin, blocks_of(op.n), index + begin, values + begin, op.w,
                            sums + task * width);
  });
  for (size_t task = 1; task < tasks; task++) {
    for (size_t n = 0; n < op.n; n++) sums[n] += sums[task * width + n];
  }
  kernels.scale_sums_each(op.n, sums, op.scales, act_scale, op.y + i * op.n);
}

// Scratch of `many`: sums [kWorkers, kTall, 256], and that of int8_rows.
void many(const Kernels& kernels, const TernaryColumnMatMul& op, void* scratch, const Pool& pool) {
  const size_t blocks = blocks_of(op.n), row_bytes = blocks * kBlockBytes;
  int32_t* sums = static_cast<int32_t*>(scratch);
  for (size_t first = 0; first < op.m; first += kSlab) {
    const size_t m = smaller(kSlab, op.m - first);
    const Int8Rows rows = int8_rows(kernels, op.x + first * op.k, m, op.k,
                                    sums + kWorkers * kTall * kBlockK, pool);
    const size_t width = rows.blocks * kBlockK, tiles = blocks * parts(m, kTall);
    parallel(pool, smaller(tiles, kWorkers), [&](size_t worker) {
      int32_t* own = sums + worker * kTall * kBlockK;
      for (size_t tile = worker; tile < tiles; tile += kWorkers) {
        const size_t block = tile % blocks, i0 = tile / blocks * kTall;
        const size_t tall = smaller(kTall, m - i0), n0 = block * kBlockK;
        kernels.ternary_columns_gemm(tall, op.k, rows.q + i0 * width, width, rows.q_sums + i0,
                                     op.w + block * kBlockBytes, row_bytes, own, kBlockK);
        for (size_t i = 0; i < tall; i++) {
          kernels.scale_sums_each(smaller(kBlockK, op.n - n0), own + i * kBlockK,
                                  op.scales + n0 * sizeof(float), rows.act_scales[i0 + i],
                                  op.y + (first + i0 + i) * op.n + n0);
        }
      }
    });
  }
}

}  // namespace

size_t ternary_column_matmul_scratch(size_t m, size_t k, size_t n) {
  if (m < kGemmRows) {
    return kMaxParts * padded(n, kBlockK) * sizeof(int32_t) + k * (sizeof(int32_t) + 1) +
           padded(k, kBlockK);
  }
  return kWorkers * kTall * kBlockK * sizeof(int32_t) + int8_rows_scratch(m, k);
}

void ternary_column_matmul(const Kernels& kernels, const TernaryColumnMatMul& op, void* scratch,
                           const Pool& pool) {
  if (op.n == 0) return;
  if (op.m >= kGemmRows) return many(kernels, op, scratch, pool);
  for (size_t i = 0; i < op.m; i++) few(kernels, op, i, scratch, pool);
}

}  // namespace bitnet
