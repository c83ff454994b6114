#include "operators/ternary_feed_forward/ternary_gated_matmul.h"

#include "operators/ternary.h"
#include "operators/ternary_matmul/ternary_matmul.h"
#include "platform/sizes.h"

namespace bitnet {
namespace {

constexpr size_t kSlab = 256;       // activation rows at a time otherwise: bounds the scratch
constexpr size_t kTaskRows = 2048;  // weight rows of a task at most: its sums and indices, 16 KB
constexpr size_t kChunk = 32;       // weight rows of gate at a time
constexpr size_t kChunks = 4;       // tasks of 4 times kTaskBytes: each starts without its up rows

float squared_relu(float gate) {
  const float positive = gate < 0 ? 0 : gate;
  return positive * positive;
}

// One activation row. A chunk of rows of gate takes turns with the open rows of up of the chunk
// before, while those of this chunk come from memory.
void few(const Kernels& kernels, const TernaryGatedMatMul& op, size_t i, int8_t* q,
         const Pool& pool) {
  const size_t blocks = blocks_of(op.k), row_bytes = blocks * kBlockBytes;
  int32_t q_sum;
  const float act_scale = kernels.quantize_int8(op.x + i * op.k, op.k, blocks * kBlockK, q, &q_sum);
  const float gate_factor = load_float(op.gate_scale, 0) / act_scale;
  const float up_factor = load_float(op.up_scale, 0) / act_scale;
  float* y = op.y + i * op.n;
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

// Many activation rows: both products in full.
void many(const Kernels& kernels, const TernaryGatedMatMul& op, void* scratch, const Pool& pool) {
  for (size_t first = 0; first < op.m; first += kSlab) {
    const size_t m = smaller(kSlab, op.m - first);
    const float* x = op.x + first * op.k;
    float* y = op.y + first * op.n;
    float* up = static_cast<float*>(scratch);
    void* rest = static_cast<char*>(scratch) + kSlab * op.n * sizeof(float);
    TernaryMatMul product = {.m = m,
                             .k = op.k,
                             .n = op.n,
                             .x = x,
                             .w = op.gate,
                             .scales = op.gate_scale,
                             .row_scales = false,
                             .y = y};
    ternary_matmul(kernels, product, rest, pool);
    product.w = op.up;
    product.scales = op.up_scale;
    product.y = up;
    ternary_matmul(kernels, product, rest, pool);
    parallel(pool, m, [&](size_t i) {
      for (size_t n = i * op.n; n < (i + 1) * op.n; n++) {
        const float square = squared_relu(y[n]);
        y[n] = square == 0 ? 0 : square * up[n];
      }
    });
  }
}

}  // namespace

size_t ternary_gated_matmul_scratch(size_t m, size_t k, size_t n) {
  if (m < kGemmRows) return blocks_of(k) * kBlockK;
  return kSlab * n * sizeof(float) + ternary_matmul_scratch(smaller(m, kSlab), k);
}

void ternary_gated_matmul(const Kernels& kernels, const TernaryGatedMatMul& op, void* scratch,
                          const Pool& pool) {
  if (op.n == 0) return;
  if (op.m >= kGemmRows) return many(kernels, op, scratch, pool);
  for (size_t i = 0; i < op.m; i++) few(kernels, op, i, static_cast<int8_t*>(scratch), pool);
}

}  // namespace bitnet
