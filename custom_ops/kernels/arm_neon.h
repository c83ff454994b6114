// What the NEON files, and they alone, share.
#pragma once

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel.h"

// Before a short loop with much in it: GCC 12 would unroll it whole, put all that goes to one sum
// together, a chain that waits for itself, and keep the other sums in memory.
#if defined(__GNUC__)
#define ROLLED _Pragma("GCC unroll 1")
#else
#define ROLLED
#endif

namespace bitnet {

// A product code * q is at least -3 * 128 (code 3 must not overflow either), so an int16 lane takes
// 85 of them before it is widened.
static constexpr size_t kProducts = 32768 / (3 * 128);

static inline void prefetch(const void* p) {
#if defined(__GNUC__)
  __builtin_prefetch(p);
#else
  __prefetch(p);
#endif
}

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

// For many activation rows, panels of 16 weight rows are unpacked to int16 [k][row]: multiplied by
// an element of the activations, they take one instruction for 8 products and no copy of it.
static constexpr size_t kRows = 16;
static constexpr size_t kDepth = 64;  // k that a field of a block, and a step of a tile, has
static_assert(kDepth <= kProducts, "int16 lanes");

static inline void store_codes(uint8x16_t codes, int16_t* to) {
  vst1q_s16(to, vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(codes))));
  vst1q_s16(to + 8, vreinterpretq_s16_u16(vmovl_high_u8(codes)));
}

// One block; rows past `rows` repeat the last one.
static NOINLINE void unpack_block(const uint8_t* w, size_t row_bytes, size_t rows, int16_t* panel) {
  for (size_t part = 0; part < kBlockBytes; part += 16) {
    uint8x16_t v[16], t[16];
    UNROLL for (size_t i = 0; i < 16; i++) {
      v[i] = vld1q_u8(w + (i < rows ? i : rows - 1) * row_bytes + part);
    }
    // With row and byte as the halves of one index, each turn rotates it by a bit: the fourth has
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
      UNROLL for (size_t j = 0; j < 4; j++) {
        store_codes(code[j], panel + (64 * j + part + i) * kRows);
      }
    }
  }
}

template <int Lane, int M>
static inline void step(const int16_t* panel, const int16x8_t x[M], int16x8_t acc[M][2]) {
  const int16x8_t low = vld1q_s16(panel + Lane * kRows), high = vld1q_s16(panel + Lane * kRows + 8);
  UNROLL for (int m = 0; m < M; m++) {
    acc[m][0] = vmlaq_laneq_s16(acc[m][0], low, x[m], Lane);
    acc[m][1] = vmlaq_laneq_s16(acc[m][1], high, x[m], Lane);
  }
}

static inline void add_to(int32_t* sums, int16x8_t v) {
  vst1q_s32(sums, vaddw_s16(vld1q_s32(sums), vget_low_s16(v)));
  vst1q_s32(sums + 4, vaddw_high_s16(vld1q_s32(sums + 4), v));
}

// sums[m][0..16) += panel x q for M activation rows and `depth` k, a multiple of kDepth.
template <int M>
static void tile(size_t depth, const int16_t* panel, const int8_t* q, size_t q_stride,
                 int32_t* sums, size_t stride) {
  for (size_t begin = 0; begin < depth; begin += kDepth) {
    int16x8_t acc[M][2];
    UNROLL for (int m = 0; m < M; m++) acc[m][0] = acc[m][1] = vdupq_n_s16(0);
    for (size_t k = begin; k < begin + kDepth; k += 8, panel += 8 * kRows) {
      int16x8_t x[M];
      UNROLL for (int m = 0; m < M; m++) x[m] = vmovl_s8(vld1_s8(q + m * q_stride + k));
      step<0, M>(panel, x, acc);
      step<1, M>(panel, x, acc);
      step<2, M>(panel, x, acc);
      step<3, M>(panel, x, acc);
      step<4, M>(panel, x, acc);
      step<5, M>(panel, x, acc);
      step<6, M>(panel, x, acc);
      step<7, M>(panel, x, acc);
    }
    UNROLL for (int m = 0; m < M; m++) {
      add_to(sums + m * stride, acc[m][0]);
      add_to(sums + m * stride + 8, acc[m][1]);
    }
  }
}

static constexpr size_t kTall = 4;
using Tile = void (*)(size_t, const int16_t*, const int8_t*, size_t, int32_t*, size_t);
static const Tile kTiles[kTall] = {tile<1>, tile<2>, tile<3>, tile<4>};

}  // namespace bitnet
