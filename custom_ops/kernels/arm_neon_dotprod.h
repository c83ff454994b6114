// Shared by the files of NEON with dot products alone.
#pragma once

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/format.h"
#include "platform/compiler.h"

namespace bitnet {

// sum[i] += the products of elements 4 i to 4 i + 3; codes are below 128.
static inline int32x4_t dot(int32x4_t sum, uint8x16_t codes, int8x16_t q) {
  return vdotq_s32(sum, vreinterpretq_s8_u8(codes), q);
}

// 16 elements q = 256 * high + low. Both are int8, since |q| <= 32512. The low ones come first.
static_assert(32512 + 128 < 1 << 15, "the rounded high byte");
static inline void split(const int16_t* q, int8x16_t x[2]) {
  const int16x8_t a = vld1q_s16(q), b = vld1q_s16(q + 8), half = vdupq_n_s16(128);
  x[0] = vuzp1q_s8(vreinterpretq_s8_s16(a), vreinterpretq_s8_s16(b));
  x[1] = vaddhn_high_s16(vaddhn_s16(a, half), b, half);
}

// Queries and weights are 256 * high + low, both int8. Low and high have sums of their own, of
// which the high ones count 256 times. The total fits int32 (attend.h), so it may wrap on the way.
static inline int32x4_t join(int32x4_t low, int32x4_t high) {
  return vaddq_s32(low, vshlq_n_s32(high, 8));
}

// For each 16 elements: their low bytes, then their high bytes.
static inline void split_row(const int16_t* x, size_t count, int8_t* to) {
  for (size_t i = 0; i < count; i += 16) {
    int8x16_t bytes[2];
    split(x + i, bytes);
    vst1q_s8(to + 2 * i, bytes[0]);
    vst1q_s8(to + 2 * i + 16, bytes[1]);
  }
}

// The sum of the lanes of each of four vectors.
static inline int32x4_t add_lanes(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d) {
  return vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d));
}

// For many activation rows, panels of 16 weight rows are unpacked to [k / 4][row][k % 4]: one
// vector holds 4 weights of each of 4 rows.
static constexpr size_t kRows = 16;
static constexpr size_t kQuadBytes = 4 * kRows;

// One block; rows past `rows` repeat the last one.
static NOINLINE void unpack_block(const uint8_t* w, size_t row_bytes, size_t rows, uint8_t* panel) {
  const uint8x16_t mask = vdupq_n_u8(3);
  for (size_t r = 0; r < kRows; r += 4) {
    for (size_t part = 0; part < 4; part++) {
      uint32x4_t v[4], t[4];
      UNROLL for (size_t i = 0; i < 4; i++) {
        const uint8_t* row = w + (r + i < rows ? r + i : rows - 1) * row_bytes;
        v[i] = vreinterpretq_u32_u8(vld1q_u8(row + 16 * part));
      }
      UNROLL for (int turn = 0; turn < 2; turn++) {  // the second exchanges row and word
        UNROLL for (int i = 0; i < 2; i++) {
          t[2 * i] = vzip1q_u32(v[i], v[i + 2]);
          t[2 * i + 1] = vzip2q_u32(v[i], v[i + 2]);
        }
        UNROLL for (int i = 0; i < 4; i++) v[i] = t[i];
      }
      UNROLL for (size_t i = 0; i < 4; i++) {
        const uint8x16_t packed = vreinterpretq_u8_u32(v[i]);
        uint8_t* to = panel + (4 * part + i) * kQuadBytes + 4 * r;
        vst1q_u8(to, vandq_u8(packed, mask));
        vst1q_u8(to + 16 * kQuadBytes, vandq_u8(vshrq_n_u8(packed, 2), mask));
        vst1q_u8(to + 32 * kQuadBytes, vandq_u8(vshrq_n_u8(packed, 4), mask));
        vst1q_u8(to + 48 * kQuadBytes, vshrq_n_u8(packed, 6));
      }
    }
  }
}

template <int Lane, int M>
static inline void step(const uint8_t* panel, const int8x16_t x[M], int32x4_t acc[M][4]) {
  UNROLL for (int v = 0; v < 4; v++) {
    const uint8x16_t codes = vld1q_u8(panel + Lane * kQuadBytes + 16 * v);
    UNROLL for (int m = 0; m < M; m++) {
      acc[m][v] = vdotq_laneq_s32(acc[m][v], vreinterpretq_s8_u8(codes), x[m], Lane);
    }
  }
}

// sums[m][0..16) += panel x q for M activation rows and `depth` k, a multiple of 16.
template <int M>
static void tile(size_t depth, const uint8_t* panel, const int8_t* q, size_t q_stride,
                 int32_t* sums, size_t stride) {
  int32x4_t acc[M][4];
  UNROLL for (int i = 0; i < 4 * M; i++) {
    acc[i / 4][i % 4] = vld1q_s32(sums + i / 4 * stride + i % 4 * 4);
  }
  for (size_t k = 0; k < depth; k += 16, panel += 4 * kQuadBytes) {
    int8x16_t x[M];
    UNROLL for (int m = 0; m < M; m++) x[m] = vld1q_s8(q + m * q_stride + k);
    step<0, M>(panel, x, acc);
    step<1, M>(panel, x, acc);
    step<2, M>(panel, x, acc);
    step<3, M>(panel, x, acc);
  }
  UNROLL for (int i = 0; i < 4 * M; i++) {
    vst1q_s32(sums + i / 4 * stride + i % 4 * 4, acc[i / 4][i % 4]);
  }
}

static constexpr size_t kTall = 4;
using Tile = void (*)(size_t, const uint8_t*, const int8_t*, size_t, int32_t*, size_t);
static const Tile kTiles[kTall] = {tile<1>, tile<2>, tile<3>, tile<4>};

}  // namespace bitnet
