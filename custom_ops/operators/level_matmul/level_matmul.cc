#include "operators/level_matmul/level_matmul.h"

#include <string.h>

#include "operators/ternary.h"
#include "operators/wide_sums.h"

namespace bitnet {
namespace {

size_t slab_of(size_t m) { return smaller(m, kWideSlab); }

// q: [blocks, kBlockK]
void split(const int16_t* q, size_t blocks, SplitBlock* to) {
  memset(to, 0, blocks * sizeof *to);
  for (size_t b = 0; b < blocks; b++, q += kBlockK, to++) {
    for (size_t i = 0; i < kBlockK; i++) {
      to->low[i] = static_cast<int8_t>(q[i]);
      to->high[i] = static_cast<int8_t>((q[i] + 128) >> 8);
      to->sums[i / 4 % kLevels] += q[i];
    }
  }
}

}  // namespace

size_t level_row_bytes(int bits, size_t k) {
  return blocks_of(k) * (bits == 4 ? kInt4Bytes : kInt6Bytes);
}

// Split rows, one row of 16-bit integers, and 1 / act_scale of each row.
size_t level_matmul_scratch(size_t m, size_t k) {
  const size_t row = blocks_of(k) * sizeof(SplitBlock);
  return slab_of(m) * (row + sizeof(float)) + blocks_of(k) * kBlockK * sizeof(int16_t);
}

void level_matmul(const Kernels& kernels, const LevelMatMul& op, void* scratch, const Pool& pool) {
  if (op.m == 0 || op.n == 0) return;
  LevelGemv* gemv = op.bits == 4 ? kernels.level_gemv_int4 : kernels.level_gemv_int6;
  const size_t slab = slab_of(op.m), blocks = blocks_of(op.k);
  const size_t row_bytes = level_row_bytes(op.bits, op.k);
  const size_t tall = smaller(op.m, kLevelRows);
  const size_t rows = rows_per_task(op.n, row_bytes, 4, kWideSums / tall);
  SplitBlock* x = static_cast<SplitBlock*>(scratch);
  int16_t* q = reinterpret_cast<int16_t*>(x + slab * blocks);
  float* inverse = reinterpret_cast<float*>(q + blocks * kBlockK);
  for (size_t first = 0; first < op.m; first += slab) {
    const size_t m = smaller(op.m - first, slab);
    for (size_t i = 0; i < m; i++) {
      inverse[i] =
          1.0f / kernels.quantize_int16(op.x + (first + i) * op.k, op.k, blocks * kBlockK, q);
      split(q, blocks, x + i * blocks);
    }
    parallel(pool, parts(op.n, rows), [&](size_t task) {
      int64_t sums[kWideSums];
      const size_t n0 = task * rows, count = smaller(op.n - n0, rows);
      for (size_t i0 = 0; i0 < m; i0 += kLevelRows) {
        const size_t here = smaller(kLevelRows, m - i0);
        gemv(here, count, blocks, x + i0 * blocks, op.w + n0 * row_bytes,
             reinterpret_cast<const int8_t*>(op.levels) + n0 * blocks * kLevels, sums, count);
        scale_wide_sums(here, count, sums, op.scale + n0, inverse + i0,
                        op.y + (first + i0) * op.n + n0, op.n);
      }
    });
  }
}

}  // namespace bitnet
