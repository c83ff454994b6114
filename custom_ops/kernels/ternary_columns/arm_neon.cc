#include "kernels/arm_neon.h"

#include "kernels/ternary_columns/ternary_columns.h"

namespace bitnet {

// This many columns go over the sums together, while the next ones are prefetched.
static constexpr size_t kChunk = 16;
static_assert(kChunk <= kProducts, "int16 lanes");

static inline void add_to(int32_t* sums, int16x8_t v) {
  vst1q_s32(sums, vaddw_s16(vld1q_s32(sums), vget_low_s16(v)));
  vst1q_s32(sums + 4, vaddw_high_s16(vld1q_s32(sums + 4), v));
}

// sums += 32 bytes, at `at`, of `count` columns.
static void add_half(size_t count, const uint8_t* const* column, size_t at, const int8_t* q,
                     int32_t* sums) {
  int16x8_t acc[4][4];  // element e of vector v of a field belongs to byte 8 v + e
  UNROLL for (int i = 0; i < 16; i++) acc[i / 4][i % 4] = vdupq_n_s16(0);
  for (size_t c = 0; c < count; c++) {
    const int8x16_t x = vdupq_n_s8(q[c]);
    UNROLL for (int half = 0; half < 2; half++) {
      uint8x16_t code[4];
      unpack(vld1q_u8(column[c] + at + 16 * half), code);
      UNROLL for (int j = 0; j < 4; j++) {
        const int8x16_t wide = vreinterpretq_s8_u8(code[j]);
        int16x8_t* to = acc[j] + 2 * half;
        to[0] = vmlal_s8(to[0], vget_low_s8(wide), vget_low_s8(x));
        to[1] = vmlal_high_s8(to[1], wide, x);
      }
    }
  }
  UNROLL for (int i = 0; i < 16; i++) add_to(sums + i / 4 * 64 + i % 4 * 8, acc[i / 4][i % 4]);
}

void ternary_columns_neon(size_t count, size_t blocks, const int32_t* index, const int8_t* q,
                          const uint8_t* w, int32_t* sums) {
  const size_t row = blocks * kBlockBytes;
  int32_t q_sum = 0;
  for (size_t i = 0; i < count; i++) q_sum += q[i];
  for (size_t n = 0; n < blocks * kBlockK; n++) sums[n] = -q_sum;
  const uint8_t *column[kChunk], *ahead[kChunk];
  for (size_t i = 0; i < count; i += kChunk) {
    const size_t here = count - i < kChunk ? count - i : kChunk;
    for (size_t c = 0; c < here; c++) {
      const size_t later = i + c + kChunk < count ? i + c + kChunk : count - 1;
      column[c] = w + static_cast<size_t>(index[i + c]) * row;
      ahead[c] = w + static_cast<size_t>(index[later]) * row;
    }
    for (size_t b = 0; b < blocks; b++) {
      const size_t at = b * kBlockBytes;
      for (size_t c = 0; c < here; c++) PREFETCH(ahead[c] + at);
      add_half(here, column, at, q + i, sums + b * kBlockK);
      add_half(here, column, at + 32, q + i, sums + b * kBlockK + 32);
    }
  }
}

}  // namespace bitnet
