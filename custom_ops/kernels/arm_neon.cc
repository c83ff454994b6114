#include "kernels/arm_neon.h"

#include <string.h>

namespace bitnet {

// Bytes: what a memory of 100 ns delivers to one core at 40 GB/s while a line is on its way.
static constexpr size_t kAhead = 4096;

static constexpr size_t kGemvBlocks =
    5;  // a lane of each of the two sums takes 16 products a block
static_assert(16 * kGemvBlocks <= kProducts, "int16 lanes");

// Sums of R rows, R at most 4, lanes R to 3 are zero; those at `ahead` are prefetched.
template <int R>
static inline int32x4_t ternary_rows(size_t blocks, const int8_t* q, const uint8_t* const* row,
                                     const uint8_t* const* ahead) {
  int32x4_t wide[4];
  UNROLL for (int r = 0; r < 4; r++) wide[r] = vdupq_n_s32(0);
  for (size_t begin = 0; begin < blocks; begin += kGemvBlocks) {
    const size_t end = blocks - begin < kGemvBlocks ? blocks : begin + kGemvBlocks;
    int16x8_t even[R], odd[R];  // of the fields 0 and 2, 1 and 3
    UNROLL for (int r = 0; r < R; r++) even[r] = odd[r] = vdupq_n_s16(0);
    for (size_t at = begin * kBlockBytes; at < end * kBlockBytes; at += 16) {
      const int8_t* x = q + at / kBlockBytes * kBlockK + at % kBlockBytes;
      const int8x16_t x0 = vld1q_s8(x), x1 = vld1q_s8(x + 64);
      const int8x16_t x2 = vld1q_s8(x + 128), x3 = vld1q_s8(x + 192);
      prefetch(ahead[at / 16 % R] + at / kBlockBytes * kBlockBytes);  // one row's line in each turn
      UNROLL for (int r = 0; r < R; r++) {
        uint8x16_t code[4];
        unpack(vld1q_u8(row[r] + at), code);
        even[r] = add_products(even[r], code[0], x0);
        odd[r] = add_products(odd[r], code[1], x1);
        even[r] = add_products(even[r], code[2], x2);
        odd[r] = add_products(odd[r], code[3], x3);
      }
    }
    UNROLL for (int r = 0; r < R; r++) wide[r] = vpadalq_s16(vpadalq_s16(wide[r], even[r]), odd[r]);
  }
  return add_lanes(wide[0], wide[1], wide[2], wide[3]);
}

void ternary_gemv_neon(size_t rows, size_t blocks, const int8_t* q, int32_t q_sum, const uint8_t* w,
                       int32_t* sums) {
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

void ternary_select_neon(size_t count, size_t known, size_t blocks, const int8_t* q, int32_t q_sum,
                         const uint8_t* w, const int32_t* index, int32_t* sums) {
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
