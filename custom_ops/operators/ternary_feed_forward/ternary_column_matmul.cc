#include "operators/ternary_feed_forward/ternary_column_matmul.h"

#include "operators/ternary_matmul/int8_rows.h"

namespace bitnet {
namespace {

// Tasks that share the columns, each with sums of its own: of one activation row, where the columns
// are few, and of several.
constexpr size_t kParts = 4;
constexpr size_t kMaxParts = 8;
constexpr size_t kUnit = 64;        // columns that tasks divide, where some are skipped
constexpr size_t kBlockTall = 128;  // activation rows by one block of outputs: a tile

// Scratch of `one`: sums [kParts, padded n], index and values [k + kSelectSlack], q [padded k].
void one(const Kernels& kernels, const TernaryColumnMatMul& op, void* scratch, const Pool& pool) {
  const size_t width = padded(op.n, kBlockK), row_bytes = blocks_of(op.n) * kBlockBytes;
  int32_t* sums = static_cast<int32_t*>(scratch);
  int32_t* index = sums + kParts * width;
  int8_t* values = reinterpret_cast<int8_t*>(index + op.k + kSelectSlack);
  int8_t* q = values + op.k + kSelectSlack;
  int32_t q_sum;
  const float act_scale = kernels.quantize_int8(op.x, op.k, padded(op.k, kBlockK), q, &q_sum);
  const size_t count = kernels.select_values(op.k, q, index, values);
  add_to(op.skipped, (op.k - count) * row_bytes);
  const size_t worth = count * row_bytes / kTaskBytes + 1;
  const size_t tasks = worth < kParts ? worth : kParts, share = parts(count, tasks);
  parallel(pool, tasks, [&](size_t task) {
    const size_t begin = smaller(task * share, count), end = smaller(begin + share, count);
    kernels.ternary_columns(end - begin, blocks_of(op.n), index + begin, values + begin, op.w,
                            sums + task * width);
  });
  for (size_t task = 1; task < tasks; task++) {
    kernels.add_sums(op.n, sums + task * width, sums);
  }
  kernels.scale_sums_each(op.n, sums, op.scales, act_scale, op.y);
}

// The columns that one of m rows of q multiplies with something else than 0, in `index`, and how
// many rows do, in `rows_of`. Both have room for k + kSelectSlack, `met` for k padded.
size_t union_of(const Kernels& kernels, const Int8Rows& rows, size_t k, int8_t* met, int32_t* index,
                int8_t* rows_of) {
  const size_t width = rows.blocks * kBlockK;
  for (size_t k0 = 0; k0 < width; k0 += kBlockK) {
    int8_t some[kBlockK] = {0};
    for (size_t i = 0; i < rows.m; i++) {
      const int8_t* q = rows.q + i * width + k0;
      for (size_t c = 0; c < kBlockK; c++) some[c] += q[c] != 0;
    }
    memcpy(met + k0, some, kBlockK);
  }
  return kernels.select_values(k, met, index, rows_of);
}

size_t sum_of(size_t count, const int8_t* q) {
  size_t sum = 0;  // wraps where it is negative
  for (size_t j = 0; j < count; j++) sum += static_cast<size_t>(q[j]);
  return sum;
}

// Many activation rows, where sums are in place.
void wide(const Kernels& kernels, const TernaryColumnMatMul& op, void* scratch, const Pool& pool) {
  const size_t row_bytes = blocks_of(op.n) * kBlockBytes;
  for (size_t first = 0; first < op.m; first += kSlab) {
    const size_t m = smaller(kSlab, op.m - first);
    const Int8Rows rows = int8_rows(kernels, op.x + first * op.k, m, op.k, scratch, pool);
    const size_t width = rows.blocks * kBlockK;
    const size_t most = padded(in_place_rows(kernels, m, op.k, op.n), kBlockK);
    const size_t across = parts(op.n, most);
    parallel(pool, across * parts(m, kInPlaceTall), [&](size_t task) {
      const size_t n0 = task % across * most, i0 = task / across * kInPlaceTall;
      const size_t tall = smaller(kInPlaceTall, m - i0), count = smaller(most, op.n - n0);
      float* y = op.y + (first + i0) * op.n + n0;
      int32_t* sums = reinterpret_cast<int32_t*>(y);
      kernels.ternary_columns_gemm(tall, op.k, count / kBlockK, rows.q + i0 * width, width,
                                   rows.q_sums + i0, op.w + n0 / kBlockK * kBlockBytes, row_bytes,
                                   sums, op.n);
      for (size_t i = 0; i < tall; i++) {
        kernels.scale_sums_each(count, sums + i * op.n, op.scales + n0 * sizeof(float),
                                rows.act_scales[i0 + i], y + i * op.n);
      }
    });
  }
}

// Few activation rows: a column is read once for all of them. Unless they skip an eighth of the
// columns together, all are read, and q is taken as it is.
// Scratch: sums [kMaxParts, m, padded n], index [k + kSelectSlack], values [m, padded k] and room
// for the slack, and int8_rows.
void several(const Kernels& kernels, const TernaryColumnMatMul& op, void* scratch,
             const Pool& pool) {
  const size_t m = op.m, stride = padded(op.n, kBlockK), width = padded(op.k, kBlockK);
  const size_t row_bytes = blocks_of(op.n) * kBlockBytes;
  int32_t* sums = static_cast<int32_t*>(scratch);
  int32_t* index = sums + kMaxParts * m * stride;
  int8_t* values = reinterpret_cast<int8_t*>(index + padded(op.k + kSelectSlack, 16));
  const Int8Rows rows =
      int8_rows(kernels, op.x, m, op.k, values + m * width + padded(kSelectSlack, 64), pool);
  size_t count = union_of(kernels, rows, op.k, values, index, values + width);
  const size_t pairs = sum_of(count, values + width);
  const bool all = count > op.k / 8 * 7;
  if (m > kernels.few_rows && pairs > m * op.k / 4 * 3 && op.n % kBlockK == 0) {
    return wide(kernels, op, scratch, pool);
  }
  if (all) count = op.k;
  add_to(op.skipped, (op.k - count) * row_bytes);
  const size_t worth = count * row_bytes / kTaskBytes + 1;
  const size_t unit = all ? kBlockK : kUnit, units = parts(count, unit);
  const size_t tasks = larger(smaller(units, smaller(worth, kMaxParts)), 1);
  parallel(pool, tasks, [&](size_t task) {
    const size_t begin = task * units / tasks * unit;
    const size_t here = smaller((task + 1) * units / tasks * unit, count) - begin;
    const int8_t* q = rows.q + begin;
    if (!all) {
      for (size_t i = 0; i < m; i++) {
        const int8_t* from = rows.q + i * width;
        const int32_t* at = index + begin;
        int8_t* to = values + i * width + begin;
        for (size_t j = 0; j < here; j++) to[j] = from[at[j]];
        memset(to + here, 0, padded(here, 4) - here);
      }
      q = values + begin;
    }
    int32_t q_sums[kFewActivations];
    for (size_t i = 0; i < m; i++) {
      q_sums[i] = static_cast<int32_t>(sum_of(here, q + i * width));
    }
    kernels.ternary_columns_few(m, here, blocks_of(op.n), q, width, q_sums,
                                op.w + (all ? begin * row_bytes : 0), all ? nullptr : index + begin,
                                sums + task * m * stride, stride);
  });
  parallel(pool, m, [&](size_t i) {
    int32_t* total = sums + i * stride;
    for (size_t task = 1; task < tasks; task++) {
      kernels.add_sums(op.n, total + task * m * stride, total);
    }
    kernels.scale_sums_each(op.n, total, op.scales, rows.act_scales[i], op.y + i * op.n);
  });
}

// Scratch of `many`: sums [kWorkers, kBlockTall, 256], and that of int8_rows.
void many(const Kernels& kernels, const TernaryColumnMatMul& op, void* scratch, const Pool& pool) {
  const size_t blocks = blocks_of(op.n), row_bytes = blocks * kBlockBytes;
  int32_t* sums = static_cast<int32_t*>(scratch);
  for (size_t first = 0; first < op.m; first += kSlab) {
    const size_t m = smaller(kSlab, op.m - first);
    const Int8Rows rows = int8_rows(kernels, op.x + first * op.k, m, op.k,
                                    sums + kWorkers * kBlockTall * kBlockK, pool);
    const size_t width = rows.blocks * kBlockK, tiles = blocks * parts(m, kBlockTall);
    each_of(tiles, pool, [&](size_t worker, size_t tile) {
      int32_t* own = sums + worker * kBlockTall * kBlockK;
      const size_t block = tile % blocks, i0 = tile / blocks * kBlockTall;
      const size_t tall = smaller(kBlockTall, m - i0), n0 = block * kBlockK;
      kernels.ternary_columns_gemm(tall, op.k, 1, rows.q + i0 * width, width, rows.q_sums + i0,
                                   op.w + block * kBlockBytes, row_bytes, own, kBlockK);
      for (size_t i = 0; i < tall; i++) {
        kernels.scale_sums_each(smaller(kBlockK, op.n - n0), own + i * kBlockK,
                                op.scales + n0 * sizeof(float), rows.act_scales[i0 + i],
                                op.y + (first + i0 + i) * op.n + n0);
      }
    });
  }
}

}  // namespace

size_t ternary_column_matmul_scratch(size_t m, size_t k, size_t n) {
  const size_t stride = padded(n, kBlockK), width = padded(k, kBlockK);
  if (m == 1) {
    return kParts * stride * sizeof(int32_t) + (k + kSelectSlack) * (sizeof(int32_t) + 1) + width;
  }
  if (m > kFewActivations) {
    return kWorkers * kBlockTall * kBlockK * sizeof(int32_t) + int8_rows_scratch(m, k);
  }
  return (kMaxParts * m * stride + padded(k + kSelectSlack, 16)) * sizeof(int32_t) + m * width +
         padded(kSelectSlack, 64) + int8_rows_scratch(m, k);
}

void ternary_column_matmul(const Kernels& kernels, const TernaryColumnMatMul& op, void* scratch,
                           const Pool& pool) {
  if (op.n == 0) return;
  if (op.m == 1) return one(kernels, op, scratch, pool);
  if (op.m <= kFewActivations) return several(kernels, op, scratch, pool);
  if (in_place(kernels) && op.n % kBlockK == 0) return wide(kernels, op, scratch, pool);
  many(kernels, op, scratch, pool);
}

}  // namespace bitnet
