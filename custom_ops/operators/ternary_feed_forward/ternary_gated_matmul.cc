#include "operators/ternary_feed_forward/ternary_gated_matmul.h"

#include "operators/ternary_matmul/int8_rows.h"

namespace bitnet {
namespace {

constexpr size_t kTaskRows = 2048;  // weight rows of a task at most: its sums and indices, 16 KB
constexpr size_t kChunk = 32;       // weight rows of gate at a time
constexpr size_t kChunks = 4;       // tasks of 4 times kTaskBytes: each starts without its up rows

float squared_relu(float gate) {
  const float positive = gate < 0 ? 0 : gate;
  return positive * positive;
}

// One activation row. A chunk of rows of gate takes turns with the open rows of up of the chunk
// before, while those of this chunk come from memory.
void one(const Kernels& kernels, const TernaryGatedMatMul& op, int8_t* q, const Pool& pool) {
  const size_t blocks = blocks_of(op.k), row_bytes = blocks * kBlockBytes;
  int32_t q_sum;
  const float act_scale = kernels.quantize_int8(op.x, op.k, blocks * kBlockK, q, &q_sum);
  const float gate_factor = load_float(op.gate_scale, 0) / act_scale;
  const float up_factor = load_float(op.up_scale, 0) / act_scale;
  float* y = op.y;
  if (act_scale != act_scale) {
    for (size_t n = 0; n < op.n; n++) y[n] = act_scale;
    return;
  }
  const size_t rows = rows_per_task(op.n, row_bytes / kChunks, kChunk, kTaskRows);
  parallel(pool, parts(op.n, rows), [&](size_t task) {
    int32_t gates[kChunk], sums[kTaskRows], open[kTaskRows];
    open[0] = 0;
    const size_t n0 = task * rows, count = smaller(rows, op.n - n0);
    const uint8_t* up = op.up + n0 * row_bytes;
    size_t opened = 0, known = 0, done = 0;
    for (size_t n = 0; n < count; n += kChunk) {
      const size_t here = smaller(kChunk, count - n);
      kernels.ternary_gemv(here, blocks, q, q_sum, op.gate + (n0 + n) * row_bytes, gates);
      float* squares = y + n0 + n;
      for (size_t i = 0; i < here; i++) {
        squares[i] = squared_relu(static_cast<float>(gates[i]) * gate_factor);
      }
      for (size_t i = 0; i < here; i++) {  // without a branch, which half of the time would miss
        open[opened] = static_cast<int32_t>(n + i);
        opened += squares[i] != 0;
      }
      const size_t whole = (known - done) / 4 * 4;
      kernels.ternary_select(whole, opened - done, blocks, q, q_sum, up, open + done, sums + done);
      done += whole;
      known = opened;
    }
    const size_t left = opened - done;
    kernels.ternary_select(left, left, blocks, q, q_sum, up, open + done, sums + done);
    add_to(op.skipped, (count - opened) * row_bytes);
    for (size_t j = 0; j < opened; j++) {
      y[n0 + static_cast<size_t>(open[j])] *= static_cast<float>(sums[j]) * up_factor;
    }
  });
}

// The rows of weights, from n0 on, for which one of m gates is open; `open` gets them. Not a number
// is open, too.
size_t open_of(const TernaryGatedMatMul& op, size_t m, size_t n0, size_t count, float* y,
               int32_t* open) {
  uint8_t any[kSums / 2] = {0};
  for (size_t i = 0; i < m; i++) {
    for (size_t n = 0; n < count; n++) any[n] |= squared_relu(y[i * op.n + n0 + n]) != 0;
  }
  size_t opened = 0;
  for (size_t n = 0; n < count; n++) {
    open[opened] = static_cast<int32_t>(n);
    opened += any[n];
  }
  return opened;
}

// Few activation rows: a row of up is read once for all of them, where one of their gates is open.
void several(const Kernels& kernels, const TernaryGatedMatMul& op, void* scratch,
             const Pool& pool) {
  const Int8Rows rows = int8_rows(kernels, op.x, op.m, op.k, scratch, pool);
  const size_t row_bytes = rows.blocks * kBlockBytes;
  const size_t each = rows_per_task(op.n, row_bytes, 4, kSums / op.m);
  parallel(pool, parts(op.n, each), [&](size_t task) {
    int32_t sums[kSums], open[kSums / 2 + 1];
    float up[kSums / 2], all[kSums / 2] = {0};
    const size_t n0 = task * each, count = smaller(each, op.n - n0);
    kernels.ternary_few(op.m, count, rows.blocks, rows.q, rows.q_sums, op.gate + n0 * row_bytes,
                        nullptr, sums, count);
    for (size_t i = 0; i < op.m; i++) {
      const float factor = load_float(op.gate_scale, 0) / rows.act_scales[i];
      kernels.scale_sums(count, sums + i * count, factor, op.y + i * op.n + n0);
    }
    const size_t opened = open_of(op, op.m, n0, count, op.y, open);
    add_to(op.skipped, (count - opened) * row_bytes);
    kernels.ternary_few(op.m, opened, rows.blocks, rows.q, rows.q_sums, op.up + n0 * row_bytes,
                        opened < count ? open : nullptr, sums, opened);
    for (size_t i = 0; i < op.m; i++) {
      const float factor = load_float(op.up_scale, 0) / rows.act_scales[i];
      kernels.scale_sums(opened, sums + i * opened, factor, opened < count ? up : all);
      for (size_t j = 0; opened < count && j < opened; j++) all[open[j]] = up[j];
      kernels.gate(count, all, op.y + i * op.n + n0);
    }
  });
}

// Many activation rows: both products in full, a rectangle of each while its sums are at hand.
void many(const Kernels& kernels, const TernaryGatedMatMul& op, void* scratch, const Pool& pool) {
  for (size_t first = 0; first < op.m; first += kSlab) {
    const size_t m = smaller(kSlab, op.m - first);
    const Int8Rows rows = int8_rows(kernels, op.x + first * op.k, m, op.k, scratch, pool);
    const size_t width = rows.blocks * kBlockK, row_bytes = rows.blocks * kBlockBytes;
    each_rectangle(rows, op.n, pool, [&](size_t i0, size_t tall, size_t n0, size_t count) {
      int32_t gates[kSums], sums[kSums];
      float up[kSums];
      const int8_t* q = rows.q + i0 * width;
      kernels.ternary_gemm(tall, count, rows.blocks, q, rows.q_sums + i0, op.gate + n0 * row_bytes,
                           gates, count);
      kernels.ternary_gemm(tall, count, rows.blocks, q, rows.q_sums + i0, op.up + n0 * row_bytes,
                           sums, count);
      for (size_t i = 0; i < tall; i++) {
        const float act_scale = rows.act_scales[i0 + i];
        float* y = op.y + (first + i0 + i) * op.n + n0;
        kernels.scale_sums(count, gates + i * count, load_float(op.gate_scale, 0) / act_scale, y);
        kernels.scale_sums(count, sums + i * count, load_float(op.up_scale, 0) / act_scale, up);
        kernels.gate(count, up, y);
      }
    });
  }
}

}  // namespace

size_t ternary_gated_matmul_scratch(size_t m, size_t k) {
  return int8_rows_scratch(m, k);
}

void ternary_gated_matmul(const Kernels& kernels, const TernaryGatedMatMul& op, void* scratch,
                          const Pool& pool) {
  if (op.n == 0) return;
  if (op.m == 1) return one(kernels, op, static_cast<int8_t*>(scratch), pool);
  if (op.m <= kFewActivations) return several(kernels, op, scratch, pool);
  many(kernels, op, scratch, pool);
}

}  // namespace bitnet
