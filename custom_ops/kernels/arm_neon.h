// Shared by the NEON files alone.
#pragma once

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/format.h"
#include "platform/compiler.h"

namespace bitnet {

// A product code * q is at least -3 * 128, as code 3 must not overflow either. An int16 lane takes
// 85 of them before it is widened.
static constexpr size_t kProducts = 32768 / (3 * 128);

// Field j of byte b is code[j][b].
static inline void unpack(uint8x16_t packed, uint8x16_t code[4]) {
  const uint8x16_t mask = vdupq_n_u8(3);
  code[0] = vandq_u8(packed, mask);
  code[1] = vandq_u8(vshrq_n_u8(packed, 2), mask);
  code[2] = vandq_u8(vshrq_n_u8(packed, 4), mask);
  code[3] = vshrq_n_u8(packed, 6);
}

// sum += the 16 products, two to a lane
static inline int16x8_t add_products(int16x8_t sum, uint8x16_t codes, int8x16_t q) {
  const int8x16_t c = vreinterpretq_s8_u8(codes);
  return vmlal_high_s8(vmlal_s8(sum, vget_low_s8(c), vget_low_s8(q)), c, q);
}

// The sum of the lanes of each of four vectors.
static inline int32x4_t add_lanes(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d) {
  return vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d));
}

// For many activation rows, panels of 16 weight rows are unpacked to [row][k], one block at a time.
static constexpr size_t kRows = 16;
static_assert(2 * kBlockK / 16 <= kProducts, "int16 lanes");

// Rows past `rows` repeat the last one.
static NOINLINE void unpack_block(const uint8_t* w, size_t row_bytes, size_t rows, uint8_t* panel) {
  for (size_t r = 0; r < kRows; r++, panel += kBlockK) {
    const uint8_t* row = w + (r < rows ? r : rows - 1) * row_bytes;
    for (size_t part = 0; part < kBlockBytes; part += 16) {
      uint8x16_t code[4];
      unpack(vld1q_u8(row + part), code);
      UNROLL for (int j = 0; j < 4; j++) vst1q_u8(panel + 64 * j + part, code[j]);
    }
  }
}

// sums[m][0..16) += panel x q for M activation rows and `depth` k, a multiple of 16, at most a
// block. Rows of the panel are panel_stride bytes from each other.
template <int M>
static void tile(size_t depth, const uint8_t* panel, size_t panel_stride, const int8_t* q,
                 size_t q_stride, int32_t* sums, size_t stride) {
  for (size_t r = 0; r < kRows; r += 4, panel += 4 * panel_stride, sums += 4) {
    int16x8_t acc[M][4];
    UNROLL for (int i = 0; i < 4 * M; i++) acc[i / 4][i % 4] = vdupq_n_s16(0);
    ROLLED for (size_t k = 0; k < depth; k += 16) {
      uint8x16_t codes[4];
      UNROLL for (int i = 0; i < 4; i++) codes[i] = vld1q_u8(panel + i * panel_stride + k);
      UNROLL for (int m = 0; m < M; m++) {
        const int8x16_t x = vld1q_s8(q + m * q_stride + k);
        UNROLL for (int i = 0; i < 4; i++) acc[m][i] = add_products(acc[m][i], codes[i], x);
      }
    }
    UNROLL for (int m = 0; m < M; m++) {
      const int32x4_t four = add_lanes(vpaddlq_s16(acc[m][0]), vpaddlq_s16(acc[m][1]),
                                       vpaddlq_s16(acc[m][2]), vpaddlq_s16(acc[m][3]));
      vst1q_s32(sums + m * stride, vaddq_s32(vld1q_s32(sums + m * stride), four));
    }
  }
}

static constexpr size_t kTall = 4;
using Tile = void (*)(size_t, const uint8_t*, size_t, const int8_t*, size_t, int32_t*, size_t);
static const Tile kTiles[kTall] = {tile<1>, tile<2>, tile<3>, tile<4>};

}  // namespace bitnet
