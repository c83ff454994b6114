#include "kernels/arm_neon.h"

namespace bitnet {

static void start(size_t m, size_t n, const int32_t* q_sums, int32_t* sums, size_t stride) {
  for (size_t i = 0; i < m; i++) {
    for (size_t j = 0; j < n; j++) sums[i * stride + j] = -q_sums[i];
  }
}

// sums[i][0..rows) += panel x q for all m activation rows
static void add_panel(size_t m, size_t rows, size_t depth, const uint8_t* panel, const int8_t* q,
                      size_t q_stride, int32_t* sums, size_t stride) {
  for (size_t m0 = 0; m0 < m; m0 += kTall) {
    const size_t tall = m - m0 < kTall ? m - m0 : kTall;
    const int8_t* x = q + m0 * q_stride;
    int32_t* to = sums + m0 * stride;
    if (rows == kRows) {
      kTiles[tall - 1](depth, panel, depth, x, q_stride, to, stride);
    } else {
      int32_t whole[kTall * kRows] = {0};
      kTiles[tall - 1](depth, panel, depth, x, q_stride, whole, kRows);
      for (size_t i = 0; i < tall; i++) {
        for (size_t r = 0; r < rows; r++) to[i * stride + r] += whole[i * kRows + r];
      }
    }
  }
}

void ternary_gemm_neon(size_t m, size_t n, size_t blocks, const int8_t* q, const int32_t* q_sums,
                       const uint8_t* w, int32_t* sums, size_t stride) {
  alignas(16) uint8_t panel[kBlockK * kRows];
  const size_t row_bytes = blocks * kBlockBytes;
  start(m, n, q_sums, sums, stride);
  for (size_t n0 = 0; n0 < n; n0 += kRows) {
    const size_t rows = n - n0 < kRows ? n - n0 : kRows;
    for (size_t b = 0; b < blocks; b++) {
      unpack_block(w + n0 * row_bytes + b * kBlockBytes, row_bytes, rows, panel);
      add_panel(m, rows, kBlockK, panel, q + b * kBlockK, blocks * kBlockK, sums + n0, stride);
    }
  }
}

// GEMM of columns: 16 bytes of each of 16 columns are transposed, still packed, and each field is
// 16 columns of a panel.
static constexpr size_t kChunk = 64;  // columns

static NOINLINE void unpack_16(const uint8_t* const column[16], size_t at,
                               uint8_t panel[4][kChunk * kRows]) {
  uint8x16_t v[16], t[16];
  UNROLL for (int i = 0; i < 16; i++) v[i] = vld1q_u8(column[i]);
  // With column and byte as the halves of one index, each turn rotates it by a bit: the fourth has
  // exchanged them.
  UNROLL for (int turn = 0; turn < 4; turn++) {
    UNROLL for (int i = 0; i < 8; i++) {
      t[2 * i] = vzip1q_u8(v[i], v[i + 8]);
      t[2 * i + 1] = vzip2q_u8(v[i], v[i + 8]);
    }
    UNROLL for (int i = 0; i < 16; i++) v[i] = t[i];
  }
  UNROLL for (size_t i = 0; i < 16; i++) {
    uint8x16_t code[4];
    unpack(v[i], code);
    UNROLL for (int j = 0; j < 4; j++) vst1q_u8(panel[j] + i * kChunk + at, code[j]);
  }
}

void ternary_columns_gemm_neon(size_t m, size_t count, const int8_t* q, size_t q_stride,
                               const int32_t* q_sums, const uint8_t* w, size_t row_bytes,
                               int32_t* sums, size_t stride) {
  alignas(16) uint8_t panel[4][kChunk * kRows];
  start(m, kBlockK, q_sums, sums, stride);
  for (size_t k = 0; k < count; k += kChunk) {
    for (size_t part = 0; part < kBlockBytes; part += 16) {
      for (size_t i = 0; i < kChunk; i += 16) {
        const uint8_t* column[16];  // past the last one, where q is 0, it comes again
        for (size_t c = 0; c < 16; c++) {
          const size_t at = k + i + c;
          column[c] = w + (at < count ? at : count - 1) * row_bytes + part;
        }
        unpack_16(column, i, panel);
      }
      for (size_t j = 0; j < 4; j++) {
        add_panel(m, kRows, kChunk, panel[j], q + k, q_stride, sums + 64 * j + part, stride);
      }
    }
  }
}

}  // namespace bitnet
