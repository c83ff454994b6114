#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ternary_gemm/ternary_gemm.h"

namespace bitnet {

// One smmla multiplies 2 rows of 8 int8 with 2 others. Panels of 16 weight rows by one block are
// unpacked once for all activation rows, to [k / 8][row][k % 8]: a vector holds two rows.
static constexpr size_t kRows = 16;
static constexpr size_t kOctetBytes = 8 * kRows;
static constexpr size_t kTall = 4;

static inline void split_fields(uint8x16_t packed, uint8_t* to, size_t field_bytes) {
  const uint8x16_t mask = vdupq_n_u8(3);
  vst1q_u8(to, vandq_u8(packed, mask));
  vst1q_u8(to + field_bytes, vandq_u8(vshrq_n_u8(packed, 2), mask));
  vst1q_u8(to + 2 * field_bytes, vandq_u8(vshrq_n_u8(packed, 4), mask));
  vst1q_u8(to + 3 * field_bytes, vshrq_n_u8(packed, 6));
}

// Rows past `rows` repeat the last one.
static NOINLINE void unpack_block(const uint8_t* w, size_t row_bytes, size_t rows, uint8_t* panel) {
  for (size_t r = 0; r < kRows; r += 2, panel += 16) {
    const uint8_t* first = w + (r < rows ? r : rows - 1) * row_bytes;
    const uint8_t* second = w + (r + 1 < rows ? r + 1 : rows - 1) * row_bytes;
    UNROLL for (size_t part = 0; part < 4; part++) {
      const uint64x2_t a = vreinterpretq_u64_u8(vld1q_u8(first + 16 * part));
      const uint64x2_t b = vreinterpretq_u64_u8(vld1q_u8(second + 16 * part));
      uint8_t* to = panel + 2 * part * kOctetBytes;
      split_fields(vreinterpretq_u8_u64(vzip1q_u64(a, b)), to, 8 * kOctetBytes);
      split_fields(vreinterpretq_u8_u64(vzip2q_u64(a, b)), to + kOctetBytes, 8 * kOctetBytes);
    }
  }
}

static inline void add_to(int32_t* sums, int32x4_t v) {
  vst1q_s32(sums, vaddq_s32(vld1q_s32(sums), v));
}

// sums[m][0..16) += panel x q for M activation rows and `depth` k, a multiple of 16. An odd last
// row is multiplied twice.
template <int M>
static void tile(size_t depth, const uint8_t* panel, const int8_t* q, size_t q_stride,
                 int32_t* sums, size_t stride) {
  constexpr int kPairs = (M + 1) / 2;
  int32x4_t acc[kPairs][8];  // two rows of sums of two weight rows
  UNROLL for (int i = 0; i < 8 * kPairs; i++) acc[i / 8][i % 8] = vdupq_n_s32(0);
  for (size_t k = 0; k < depth; k += 16, panel += 2 * kOctetBytes) {
    int8x16_t x[2][kPairs];
    UNROLL for (int p = 0; p < kPairs; p++) {
      const int8_t* row = q + 2 * p * q_stride + k;
      const int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(row));
      const int64x2_t b = vreinterpretq_s64_s8(vld1q_s8(2 * p + 1 < M ? row + q_stride : row));
      x[0][p] = vreinterpretq_s8_s64(vzip1q_s64(a, b));
      x[1][p] = vreinterpretq_s8_s64(vzip2q_s64(a, b));
    }
    UNROLL for (int i = 0; i < 16; i++) {
      const int8x16_t codes = vreinterpretq_s8_u8(vld1q_u8(panel + 16 * i));
      UNROLL for (int p = 0; p < kPairs; p++) {
        acc[p][i % 8] = vmmlaq_s32(acc[p][i % 8], x[i / 8][p], codes);
      }
    }
  }
  UNROLL for (int p = 0; p < kPairs; p++) {
    UNROLL for (int v = 0; v < 4; v++) {
      const int64x2_t a = vreinterpretq_s64_s32(acc[p][2 * v]);
      const int64x2_t b = vreinterpretq_s64_s32(acc[p][2 * v + 1]);
      int32_t* to = sums + 2 * p * stride + 4 * v;
      add_to(to, vreinterpretq_s32_s64(vzip1q_s64(a, b)));
      if (2 * p + 1 < M) add_to(to + stride, vreinterpretq_s32_s64(vzip2q_s64(a, b)));
    }
  }
}

using Tile = void (*)(size_t, const uint8_t*, const int8_t*, size_t, int32_t*, size_t);
static const Tile kTiles[kTall] = {tile<1>, tile<2>, tile<3>, tile<4>};

static constexpr size_t kPanelBlocks = 1;

static inline void multiply(size_t tall, size_t depth, const uint8_t* panel, const int8_t* q,
                            size_t q_stride, int32_t* sums, size_t stride) {
  kTiles[tall - 1](depth, panel, q, q_stride, sums, stride);
}

}  // namespace bitnet

#define ISA(name) name##_neon_i8mm
#include "kernels/ternary_gemm/arm.inc"

namespace bitnet {

// GEMM of columns: 8 of them at a time are interleaved, then unpacked. A panel has 16 outputs.
static constexpr size_t kPanelBytes = kColumns * kRows;

static inline void unpack_8(const uint8_t* const* column, size_t at, uint8_t* panels) {
  uint8x16_t v[8], t[8];
  UNROLL for (int i = 0; i < 8; i++) v[i] = vld1q_u8(column[i] + at);
  // Column and byte are the halves of one index. Each turn rotates it by a bit.
  UNROLL for (int turn = 0; turn < 3; turn++) {
    UNROLL for (int i = 0; i < 4; i++) {
      t[2 * i] = vzip1q_u8(v[i], v[i + 4]);
      t[2 * i + 1] = vzip2q_u8(v[i], v[i + 4]);
    }
    UNROLL for (int i = 0; i < 8; i++) v[i] = t[i];
  }
  UNROLL for (int i = 0; i < 8; i++) split_fields(v[i], panels + 16 * i, kPanelBytes);
}

static void add_columns(size_t m, size_t depth, const uint8_t* const* column, size_t at,
                        const int8_t* q, size_t q_stride, int32_t* sums, size_t stride) {
  alignas(16) uint8_t panels[4 * kPanelBytes];  // one a field
  for (size_t part = 0; part < kBlockBytes; part += 16) {
    for (size_t i = 0; i < depth; i += 8) unpack_8(column + i, at + part, panels + i * kRows);
    for (size_t j = 0; j < 4; j++) {
      prefetch_columns(part / 4 + j, depth, column, at);
      add_panel(m, kRows, depth, panels + j * kPanelBytes, q, q_stride, sums + 64 * j + part,
                stride);
    }
  }
}

}  // namespace bitnet

#include "kernels/ternary_gemm/columns.inc"
