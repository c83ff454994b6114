#include "kernels/arm_neon_dotprod.h"

#include <string.h>

namespace bitnet {

// Bytes: what a memory of 100 ns delivers to one core at 40 GB/s while a line is on its way.
static constexpr size_t kAhead = 4096;

// Ternary: a field is taken out of a byte by a mask alone, which leaves 4^j times the code, and has
// its own sum, shifted once at the end; the last one would be negative as int8, and is shifted
// down.
static_assert(48ll * 128 * 16 * (kMaxK / kBlockK) <= INT32_MAX, "int32 lanes");

// Sums of R rows, R at most 4, lanes R to 3 are zero; those at `ahead` are prefetched.
template <int R>
static inline int32x4_t ternary_rows(size_t blocks, const int8_t* q, const uint8_t* const* row,
                                     const uint8_t* const* ahead) {
  int32x4_t acc[R][3];
  UNROLL for (int i = 0; i < 3 * R; i++) acc[i / 3][i % 3] = vdupq_n_s32(0);
  const uint8x16_t mask0 = vdupq_n_u8(0x03), mask1 = vdupq_n_u8(0x0c), mask2 = vdupq_n_u8(0x30);
  for (size_t at = 0; at < blocks * kBlockBytes; at += 16) {
    const int8_t* x = q + at / kBlockBytes * kBlockK + at % kBlockBytes;
    const int8x16_t x0 = vld1q_s8(x), x1 = vld1q_s8(x + 64);
    const int8x16_t x2 = vld1q_s8(x + 128), x3 = vld1q_s8(x + 192);
    prefetch(ahead[at / 16 % R] + at / kBlockBytes * kBlockBytes);  // one row's line in each turn
    UNROLL for (int r = 0; r < R; r++) {
      const uint8x16_t packed = vld1q_u8(row[r] + at);
      acc[r][0] = dot(acc[r][0], vandq_u8(packed, mask0), x0);
      acc[r][1] = dot(acc[r][1], vandq_u8(packed, mask1), x1);
      acc[r][2] = dot(acc[r][2], vandq_u8(packed, mask2), x2);
      acc[r][0] = dot(acc[r][0], vshrq_n_u8(packed, 6), x3);
    }
  }
  int32x4_t sums[4];
  UNROLL for (int r = 0; r < 4; r++) sums[r] = vdupq_n_s32(0);
  UNROLL for (int r = 0; r < R; r++) {
    sums[r] = vsraq_n_s32(vsraq_n_s32(acc[r][0], acc[r][1], 2), acc[r][2], 4);
  }
  return add_lanes(sums[0], sums[1], sums[2], sums[3]);
}

void ternary_gemv_neon_dotprod(size_t rows, size_t blocks, const int8_t* q, int32_t q_sum,
                               const uint8_t* w, int32_t* sums) {
  const int32x4_t minus = vdupq_n_s32(q_sum);
  const size_t row_bytes = blocks * kBlockBytes;
  size_t n = 0;
  for (; n + 4 <= rows; n += 4) {
    const uint8_t *row[4], *ahead[4];
    UNROLL for (int r = 0; r < 4; r++) {
      row[r] = w + (n + r) * row_bytes;
      ahead[r] = row[r] + kAhead;
    }
    vst1q_s32(sums + n, vsubq_s32(ternary_rows<4>(blocks, q, row, ahead), minus));
  }
  for (; n < rows; n++) {
    const uint8_t *row = w + n * row_bytes, *ahead = row + kAhead;
    sums[n] = vgetq_lane_s32(ternary_rows<1>(blocks, q, &row, &ahead), 0) - q_sum;
  }
}

void ternary_select_neon_dotprod(size_t count, size_t known, size_t blocks, const int8_t* q,
                                 int32_t q_sum, const uint8_t* w, const int32_t* index,
                                 int32_t* sums) {
  const int32x4_t minus = vdupq_n_s32(q_sum);
  const size_t row_bytes = blocks * kBlockBytes;
  for (size_t i = 0; i < count; i += 4) {
    const uint8_t *row[4], *ahead[4];
    for (size_t r = 0; r < 4; r++) {  // past the last row comes the last one again
      const size_t at = i + r < count ? i + r : count - 1;
      const size_t later = count + i + r < known ? count + i + r : known - 1;
      row[r] = w + static_cast<size_t>(index[at]) * row_bytes;
      ahead[r] = w + static_cast<size_t>(index[later]) * row_bytes;
    }
    int32_t lanes[4];
    vst1q_s32(lanes, vsubq_s32(ternary_rows<4>(blocks, q, row, ahead), minus));
    memcpy(sums + i, lanes, 4 * (count - i < 4 ? count - i : 4));
  }
  for (size_t i = 2 * count; i < known; i++) {
    const uint8_t* row = w + static_cast<size_t>(index[i]) * row_bytes;
    for (size_t at = 0; at < row_bytes; at += 64) prefetch(row + at);
  }
}

}  // namespace bitnet
