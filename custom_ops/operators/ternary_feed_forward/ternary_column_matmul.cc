#include "operators/ternary_feed_forward/ternary_column_matmul.h"

#include "operators/ternary.h"
#include "platform/sizes.h"

namespace bitnet {
namespace {

constexpr size_t kMaxParts = 8;    // tasks that share the columns of one activation row
constexpr size_t kSlab = 512;      // activation rows quantized at a time otherwise
constexpr size_t kTall = 128;      // activation rows of one task
constexpr size_t kWorkers = 16;    // tasks at a time that have room for their sums
constexpr size_t kQuantized = 16;  // activation rows that one task quantizes

void scale(const TernaryColumnMatMul& op, size_t i, size_t n0, size_t count, float act_scale,
           const int32_t* sums) {
  float* y = op.y + i * op.n + n0;
  for (size_t n = 0; n < count; n++) {
    y[n] = static_cast<float>(sums[n]) * (load_float(op.scales, n0 + n) / act_scale);
  }
}

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
  scale(op, i, 0, op.n, act_scale, sums);
}

// Scratch of `many`: sums [kWorkers, kTall, 256], act_scales [slab], q_sums [slab], q [slab, padded
// k].
void many(const Kernels& kernels, const TernaryColumnMatMul& op, void* scratch, const Pool& pool) {
  const size_t slab = smaller(op.m, kSlab), q_stride = padded(op.k, kBlockK);
  const size_t blocks = blocks_of(op.n), row_bytes = blocks * kBlockBytes;
  int32_t* sums = static_cast<int32_t*>(scratch);
  float* act_scales = reinterpret_cast<float*>(sums + kWorkers * kTall * kBlockK);
  int32_t* q_sums = reinterpret_cast<int32_t*>(act_scales + slab);
  int8_t* q = reinterpret_cast<int8_t*>(q_sums + slab);
  for (size_t first = 0; first < op.m; first += slab) {
    const size_t m = smaller(slab, op.m - first);
    parallel(pool, parts(m, kQuantized), [&](size_t task) {
      for (size_t i = task * kQuantized; i < smaller(m, (task + 1) * kQuantized); i++) {
        act_scales[i] = kernels.quantize_int8(op.x + (first + i) * op.k, op.k, q_stride,
                                              q + i * q_stride, q_sums + i);
      }
    });
    const size_t tiles = blocks * parts(m, kTall);
    parallel(pool, smaller(tiles, kWorkers), [&](size_t worker) {
      int32_t* own = sums + worker * kTall * kBlockK;
      for (size_t tile = worker; tile < tiles; tile += kWorkers) {
        const size_t block = tile % blocks, i0 = tile / blocks * kTall;
        const size_t rows = smaller(kTall, m - i0), n0 = block * kBlockK;
        kernels.ternary_columns_gemm(rows, op.k, q + i0 * q_stride, q_stride, q_sums + i0,
                                     op.w + block * kBlockBytes, row_bytes, own, kBlockK);
        for (size_t i = 0; i < rows; i++) {
          scale(op, first + i0 + i, n0, smaller(kBlockK, op.n - n0), act_scales[i0 + i],
                own + i * kBlockK);
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
  return kWorkers * kTall * kBlockK * sizeof(int32_t) +
         smaller(m, kSlab) * (sizeof(float) + sizeof(int32_t) + padded(k, kBlockK));
}

void ternary_column_matmul(const Kernels& kernels, const TernaryColumnMatMul& op, void* scratch,
                           const Pool& pool) {
  if (op.n == 0) return;
  if (op.m >= kGemmRows) return many(kernels, op, scratch, pool);
  for (size_t i = 0; i < op.m; i++) few(kernels, op, i, scratch, pool);
}

}  // namespace bitnet
