#include "operators/ternary_matmul/ternary_matmul.h"

#include "operators/ternary.h"
#include "platform/sizes.h"

namespace bitnet {
namespace {

constexpr size_t kSlab = 512;            // activation rows quantized at a time: bounds the scratch
constexpr size_t kTall = 128;            // activation rows of one task
constexpr size_t kSums = 4096;           // int32 sums that a task keeps on its stack
constexpr size_t kTaskWork = 2u << 20;   // multiply-adds that are worth a task, some 20 us
constexpr size_t kQuantizeWork = 16384;  // activations that are worth a task, some 10 us

size_t slab_of(size_t m) { return smaller(m, kSlab); }

struct Slab {
  const Kernels& kernels;
  const TernaryMatMul& op;
  size_t first, m, blocks;
  float* act_scales;  // [m]
  int32_t* q_sums;    // [m]
  int8_t* q;          // [m, 256 * blocks]
};

void quantize(const Slab& s, const Pool& pool) {
  const size_t k = s.op.k, rows = kQuantizeWork / k + 1;
  parallel(pool, parts(s.m, rows), [&](size_t task) {
    for (size_t i = task * rows; i < smaller(s.m, (task + 1) * rows); i++) {
      s.act_scales[i] = s.kernels.quantize_int8(s.op.x + (s.first + i) * k, k, s.blocks * kBlockK,
                                                s.q + i * s.blocks * kBlockK, s.q_sums + i);
    }
  });
}

void scale(const Slab& s, size_t i, size_t n0, size_t count, const int32_t* sums) {
  float* y = s.op.y + (s.first + i) * s.op.n + n0;
  const float act_scale = s.act_scales[i];
  if (s.op.row_scales) {
    for (size_t n = 0; n < count; n++) {
      y[n] = static_cast<float>(sums[n]) * (load_float(s.op.scales, n0 + n) / act_scale);
    }
  } else {
    const float rescale = load_float(s.op.scales, 0) / act_scale;
    for (size_t n = 0; n < count; n++) y[n] = static_cast<float>(sums[n]) * rescale;
  }
}

// Few activation rows: the weights are read once, from memory, and tasks split only these.
void gemv(const Slab& s, const Pool& pool) {
  const size_t row_bytes = s.blocks * kBlockBytes;
  const size_t rows = rows_per_task(s.op.n, row_bytes, 4, kSums);
  parallel(pool, parts(s.op.n, rows), [&](size_t task) {
    int32_t sums[kSums];
    const size_t n0 = task * rows, count = smaller(rows, s.op.n - n0);
    for (size_t i = 0; i < s.m; i++) {
      s.kernels.ternary_gemv(count, s.blocks, s.q + i * s.blocks * kBlockK, s.q_sums[i],
                             s.op.w + n0 * row_bytes, sums);
      scale(s, i, n0, count, sums);
    }
  });
}

// Many activation rows: tasks are rectangles of kTall activation rows by `wide` weight rows.
void gemm(const Slab& s, const Pool& pool) {
  const size_t row_bytes = s.blocks * kBlockBytes, tall = smaller(s.m, kTall);
  const size_t worth = kTaskWork / (tall * s.blocks * kBlockK) / kTileN * kTileN;
  const size_t fits = kSums / tall / kTileN * kTileN;
  const size_t wide = worth < kTileN ? kTileN : smaller(worth, fits);
  const size_t across = parts(s.op.n, wide);
  parallel(pool, across * parts(s.m, tall), [&](size_t task) {
    int32_t sums[kSums];
    const size_t n0 = task % across * wide, i0 = task / across * tall;
    const size_t count = smaller(wide, s.op.n - n0), m = smaller(tall, s.m - i0);
    s.kernels.ternary_gemm(m, count, s.blocks, s.q + i0 * s.blocks * kBlockK, s.q_sums + i0,
                           s.op.w + n0 * row_bytes, sums, wide);
    for (size_t i = 0; i < m; i++) scale(s, i0 + i, n0, count, sums + i * wide);
  });
}
static_assert(kTall * kTileN <= kSums, "a task of one tile fits");

}  // namespace

size_t ternary_matmul_scratch(size_t m, size_t k) {
  return slab_of(m) * (blocks_of(k) * kBlockK + sizeof(float) + sizeof(int32_t));
}

void ternary_matmul(const Kernels& kernels, const TernaryMatMul& op, void* scratch,
                    const Pool& pool) {
  if (op.n == 0) return;
  const size_t slab = slab_of(op.m), blocks = blocks_of(op.k);
  int8_t* q = static_cast<int8_t*>(scratch);
  float* act_scales = reinterpret_cast<float*>(q + slab * blocks * kBlockK);
  int32_t* q_sums = reinterpret_cast<int32_t*>(act_scales + slab);
  for (size_t first = 0; first < op.m; first += slab) {
    const Slab s = {.kernels = kernels,
                    .op = op,
                    .first = first,
                    .m = smaller(slab, op.m - first),
                    .blocks = blocks,
                    .act_scales = act_scales,
                    .q_sums = q_sums,
                    .q = q};
    quantize(s, pool);
    if (s.m < kGemmRows)
      gemv(s, pool);
    else
      gemm(s, pool);
  }
}

}  // namespace bitnet
