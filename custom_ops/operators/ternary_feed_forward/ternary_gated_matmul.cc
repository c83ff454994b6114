#include "operators/ternary_feed_forward/ternary_gated_matmul.h"

#include <string.h>

#include "operators/ternary_matmul/int8_rows.h"

namespace bitnet {
namespace {

constexpr size_t kTaskSums = 4096;  // of a task of few activation rows, at most
constexpr size_t kTaskRows = 2048;  // weight rows of a task, at most
constexpr size_t kChunks = 4;       // tasks of 4 times kTaskBytes: each starts without its up rows
constexpr size_t kEven = 4;         // tasks are a multiple of so many, so that threads end together

// y = relu(y)^2 * up for m activation rows from i0 on, with the sums of up.
void finish(const Kernels& kernels, const TernaryGatedMatMul& op, const Int8Rows& rows, size_t i0,
            size_t m, size_t count, const int32_t* sums, float* y) {
  float up[kTaskRows];
  for (size_t i = 0; i < m; i++) {
    const float factor = load_float(op.up_scale, 0) / rows.act_scales[i0 + i];
    kernels.scale_sums(count, sums + i * count, factor, up);
    kernels.gate(count, up, y + i * op.n);
  }
}

// Whether a quarter of the gates at `y` is closed, so that sums of the open ones alone are worth
// it.
bool skips(const Kernels& kernels, const TernaryGatedMatMul& op, size_t m, size_t count,
           const float* y) {
  if (m == 1 || m > kernels.open_rows) return false;
  int32_t open[kTaskRows + kSelectSlack];
  size_t pairs = 0;
  for (size_t i = 0; i < m; i++) pairs += kernels.select_open(1, count, y + i * op.n, op.n, open);
  return pairs <= m * count / 4 * 3;
}

// Few activation rows: a row of up is read once for all of them, where one of their gates is open.
void few(const Kernels& kernels, const TernaryGatedMatMul& op, void* scratch, const Pool& pool) {
  const Int8Rows rows = int8_rows(kernels, op.x, op.m, op.k, scratch, pool);
  const size_t row_bytes = rows.blocks * kBlockBytes;
  const size_t limit = smaller(kTaskSums / op.m / 4 * 4, kTaskRows);
  const size_t most = rows_per_task(op.n, row_bytes / kChunks, 4, limit);
  const size_t tasks = most < op.n ? padded(parts(op.n, most), kEven) : 1;
  const size_t each = padded(parts(op.n, tasks), 4);
  parallel(pool, parts(op.n, each), [&](size_t task) {
    int32_t sums[kTaskSums], open[kTaskRows + kSelectSlack];
    float up[kTaskRows], all[kTaskRows];
    const size_t n0 = task * each, count = smaller(each, op.n - n0);
    kernels.ternary_few(op.m, count, rows.blocks, rows.q, rows.q_sums, op.gate + n0 * row_bytes,
                        nullptr, sums, count);
    for (size_t i = 0; i < op.m; i++) {
      const float factor = load_float(op.gate_scale, 0) / rows.act_scales[i];
      kernels.scale_sums(count, sums + i * count, factor, op.y + i * op.n + n0);
    }
    if (skips(kernels, op, op.m, count, op.y + n0)) {
      kernels.ternary_open(op.m, count, rows.blocks, rows.q, rows.q_sums, op.up + n0 * row_bytes,
                           op.y + n0, op.n, sums, count);
      return finish(kernels, op, rows, 0, op.m, count, sums, op.y + n0);
    }
    const size_t opened = kernels.select_open(op.m, count, op.y + n0, op.n, open);
    add_to(op.skipped, (count - opened) * row_bytes);
    kernels.ternary_few(op.m, opened, rows.blocks, rows.q, rows.q_sums, op.up + n0 * row_bytes,
                        opened < count ? open : nullptr, sums, opened);
    memset(all, 0, count * sizeof *all);
    for (size_t i = 0; i < op.m; i++) {
      const float factor = load_float(op.up_scale, 0) / rows.act_scales[i];
      kernels.scale_sums(opened, sums + i * opened, factor, opened < count ? up : all);
      for (size_t j = 0; opened < count && j < opened; j++) all[open[j]] = up[j];
      kernels.gate(count, all, op.y + i * op.n + n0);
    }
  });
}

// The same, where sums of gate are in place, and those of up in the scratch of the task's worker.
void wide(const Kernels& kernels, const TernaryGatedMatMul& op, void* scratch, const Pool& pool) {
  int32_t* room = static_cast<int32_t*>(scratch);
  const size_t own = smaller(op.m, kInPlaceTall) * kRowsZen4;
  for (size_t first = 0; first < op.m; first += kSlab) {
    const size_t m = smaller(kSlab, op.m - first);
    const Int8Rows rows =
        int8_rows(kernels, op.x + first * op.k, m, op.k, room + kWorkers * own, pool);
    const size_t width = rows.blocks * kBlockK, row_bytes = rows.blocks * kBlockBytes;
    const size_t most = in_place_rows(kernels, m, width, op.n), across = parts(op.n, most);
    each_of(across * parts(m, kInPlaceTall), pool, [&](size_t worker, size_t task) {
      const size_t n0 = task % across * most, i0 = task / across * kInPlaceTall;
      const size_t tall = smaller(kInPlaceTall, m - i0), count = smaller(most, op.n - n0);
      float* y = op.y + (first + i0) * op.n + n0;
      int32_t *gates = reinterpret_cast<int32_t*>(y), *sums = room + worker * own;
      const int8_t* q = rows.q + i0 * width;
      kernels.ternary_gemm(tall, count, rows.blocks, q, rows.q_sums + i0, op.gate + n0 * row_bytes,
                           gates, op.n);
      for (size_t i = 0; i < tall; i++) {
        kernels.scale_sums(count, gates + i * op.n,
                           load_float(op.gate_scale, 0) / rows.act_scales[i0 + i], y + i * op.n);
      }
      if (skips(kernels, op, tall, count, y)) {
        kernels.ternary_open(tall, count, rows.blocks, q, rows.q_sums + i0, op.up + n0 * row_bytes,
                             y, op.n, sums, count);
      } else {
        kernels.ternary_gemm(tall, count, rows.blocks, q, rows.q_sums + i0, op.up + n0 * row_bytes,
                             sums, count);
      }
      finish(kernels, op, rows, i0, tall, count, sums, y);
    });
  }
}

// Many activation rows: both products in full, a rectangle of each while its sums are at hand.
void many(const Kernels& kernels, const TernaryGatedMatMul& op, void* scratch, const Pool& pool) {
  for (size_t first = 0; first < op.m; first += kSlab) {
    const size_t m = smaller(kSlab, op.m - first);
    const Int8Rows rows = int8_rows(kernels, op.x + first * op.k, m, op.k, scratch, pool);
    const size_t width = rows.blocks * kBlockK, row_bytes = rows.blocks * kBlockBytes;
    each_rectangle(rows, op.n, pool, [&](size_t i0, size_t tall, size_t n0, size_t count) {
      int32_t gates[kSums], sums[kSums];
      float up[kWidest];
      const int8_t* q = rows.q + i0 * width;
      kernels.ternary_gemm(tall, count, rows.blocks, q, rows.q_sums + i0, op.gate + n0 * row_bytes,
                           gates, count);
      kernels.ternary_gemm(tall, count, rows.blocks, q, rows.q_sums + i0, op.up + n0 * row_bytes,
                           sums, count);
      for (size_t i = 0; i < tall; i++) {
        const float act_scale = rows.act_scales[i0 + i];
        float* y = op.y + (first + i0 + i) * op.n + n0;
        prefetch_row(y + kAhead * op.n, count);
        kernels.scale_sums(count, gates + i * count, load_float(op.gate_scale, 0) / act_scale, y);
        kernels.scale_sums(count, sums + i * count, load_float(op.up_scale, 0) / act_scale, up);
        kernels.gate(count, up, y);
      }
    });
  }
}

}  // namespace

size_t ternary_gated_matmul_scratch(size_t m, size_t k) {
  const size_t sums = m > kFewLeast ? kWorkers * smaller(m, kInPlaceTall) * kRowsZen4 : 0;
  return sums * sizeof(int32_t) + int8_rows_scratch(m, k);
}

void ternary_gated_matmul(const Kernels& kernels, const TernaryGatedMatMul& op, void* scratch,
                          const Pool& pool) {
  if (op.n == 0) return;
  if (op.m <= kernels.few_rows) return few(kernels, op, scratch, pool);
  if (in_place(kernels)) return wide(kernels, op, scratch, pool);
  many(kernels, op, scratch, pool);
}

}  // namespace bitnet
