#include "kernels/arm_neon.h"

#include <string.h>

#include "kernels/ternary_group/ternary_group.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;

// Sums of code * q over one block of four weight rows, for each of its two groups.
template <int M>
static inline void block_sums(const uint8_t* const w[4], size_t block, const int8_t* q,
                              size_t q_stride, int32x4_t sums[M][2]) {
  static_assert(16 <= kProducts, "int16 lanes: 4 parts of 2 fields");
  const uint8x16_t mask = vdupq_n_u8(3);
  const int8x16_t right = vdupq_n_s8(-4);
  UNROLL for (int half = 0; half < 2; half++) {
    int16x8_t acc[M][4];
    UNROLL for (int i = 0; i < 4 * M; i++) acc[i / 4][i % 4] = vdupq_n_s16(0);
    ROLLED for (size_t part = 0; part < 4; part++) {
      if (half == 0) PREFETCH(w[part] + block * kBlockBytes + kAhead);  // a row's line in each turn
      UNROLL for (int r = 0; r < 4; r++) {
        uint8x16_t packed = vld1q_u8(w[r] + block * kBlockBytes + 16 * part);
        if (half) packed = vshlq_u8(packed, right);
        const uint8x16_t low = vandq_u8(packed, mask);
        const uint8x16_t high = vandq_u8(vshrq_n_u8(packed, 2), mask);
        UNROLL for (int m = 0; m < M; m++) {
          const int8_t* x = q + m * q_stride + half * kGroupK + 16 * part;
          acc[m][r] = add_products(acc[m][r], low, vld1q_s8(x));
          acc[m][r] = add_products(acc[m][r], high, vld1q_s8(x + 64));
        }
      }
    }
    UNROLL for (int m = 0; m < M; m++) {
      sums[m][half] = add_lanes(vpaddlq_s16(acc[m][0]), vpaddlq_s16(acc[m][1]),
                                vpaddlq_s16(acc[m][2]), vpaddlq_s16(acc[m][3]));
    }
  }
}

static inline void multiply_group(size_t tall, const uint8_t* panel, size_t half, const int8_t* q,
                                  size_t q_stride, int32_t* sums) {
  kTiles[tall - 1](kGroupK, panel + half * kGroupK, kBlockK, q, q_stride, sums, kRows);
}

}  // namespace bitnet

#define ISA(name) name##_neon
#include "kernels/ternary_group/arm.inc"
