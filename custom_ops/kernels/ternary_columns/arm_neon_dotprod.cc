#include "kernels/arm_neon_dotprod.h"

#include <string.h>

#include "kernels/ternary_columns/ternary_columns.h"

namespace bitnet {

// This many columns go over the sums together, four by four, while the next ones are prefetched.
static constexpr size_t kChunk = 16;

static inline int32_t load_4(const int8_t* p, size_t count) {
  int32_t word = 0;
  memcpy(&word, p, count < 4 ? count : 4);
  return word;
}

// sums += 16 bytes, at `at`, of `fours` times 4 columns. A mask takes a field out of a byte, a
// shift the last one; the sum is shifted at the end.
static void add_part(size_t fours, const uint8_t* const* column, size_t at, const int32_t* q,
                     int32_t* sums) {
  static_assert(48ll * 128 * kChunk <= INT32_MAX, "int32 lanes");
  int32x4_t acc[4][4];  // lane l of vector v of a field belongs to byte 4 v + l
  UNROLL for (int i = 0; i < 16; i++) acc[i / 4][i % 4] = vdupq_n_s32(0);
  const uint8x16_t mask0 = vdupq_n_u8(0x03), mask1 = vdupq_n_u8(0x0c), mask2 = vdupq_n_u8(0x30);
  ROLLED for (size_t g = 0; g < fours; g++, column += 4) {
    const uint8x16_t a = vld1q_u8(column[0] + at), b = vld1q_u8(column[1] + at);
    const uint8x16_t c = vld1q_u8(column[2] + at), d = vld1q_u8(column[3] + at);
    const uint8x16_t ac0 = vzip1q_u8(a, c), ac1 = vzip2q_u8(a, c);
    const uint8x16_t bd0 = vzip1q_u8(b, d), bd1 = vzip2q_u8(b, d);
    const uint8x16_t packed[4] = {vzip1q_u8(ac0, bd0), vzip2q_u8(ac0, bd0), vzip1q_u8(ac1, bd1),
                                  vzip2q_u8(ac1, bd1)};
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(q[g]));
    UNROLL for (int v = 0; v < 4; v++) {
      acc[0][v] = dot(acc[0][v], vandq_u8(packed[v], mask0), x);
      acc[1][v] = dot(acc[1][v], vandq_u8(packed[v], mask1), x);
      acc[2][v] = dot(acc[2][v], vandq_u8(packed[v], mask2), x);
      acc[3][v] = dot(acc[3][v], vshrq_n_u8(packed[v], 6), x);
    }
  }
  UNROLL for (int v = 0; v < 4; v++, sums += 4) {
    vst1q_s32(sums, vaddq_s32(vld1q_s32(sums), acc[0][v]));
    vst1q_s32(sums + 64, vsraq_n_s32(vld1q_s32(sums + 64), acc[1][v], 2));
    vst1q_s32(sums + 128, vsraq_n_s32(vld1q_s32(sums + 128), acc[2][v], 4));
    vst1q_s32(sums + 192, vaddq_s32(vld1q_s32(sums + 192), acc[3][v]));
  }
}

void ternary_columns_neon_dotprod(size_t count, size_t blocks, const int32_t* index,
                                  const int8_t* q, const uint8_t* w, int32_t* sums) {
  const size_t row = blocks * kBlockBytes;
  int32_t q_sum = 0;
  for (size_t i = 0; i < count; i++) q_sum += q[i];
  for (size_t n = 0; n < blocks * kBlockK; n++) sums[n] = -q_sum;
  const uint8_t *column[kChunk], *ahead[kChunk];
  int32_t x[kChunk / 4];
  for (size_t i = 0; i < count; i += kChunk) {
    // Past the last column it is repeated, with q = 0.
    for (size_t c = 0; c < kChunk; c++) {
      const size_t at = i + c < count ? i + c : count - 1;
      const size_t later = at + kChunk < count ? at + kChunk : count - 1;
      column[c] = w + static_cast<size_t>(index[at]) * row;
      ahead[c] = w + static_cast<size_t>(index[later]) * row;
    }
    const size_t here = count - i < kChunk ? count - i : kChunk, fours = (here + 3) / 4;
    for (size_t g = 0; g < fours; g++) x[g] = load_4(q + i + 4 * g, here - 4 * g);
    for (size_t b = 0; b < blocks; b++) {
      const size_t at = b * kBlockBytes;
      for (size_t c = 0; c < kChunk; c++) PREFETCH(ahead[c] + at);
      for (size_t part = 0; part < kBlockBytes; part += 16) {
        add_part(fours, column, at + part, x, sums + b * kBlockK + part);
      }
    }
  }
}

}  // namespace bitnet
