#include "kernels/arm_neon.h"

#include "kernels/level_gemv/level_gemv.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;

// An int16 lane takes 4 products of 6 bits, or 8 of 4 bits.
static_assert(4 * 63 * 128 <= 32768 && 8 * 15 * 128 <= 32768, "int16 lanes");

template <int Bits>
static inline int32x4_t block_sums(const int8x16_t codes[8], const int8_t* q) {
  constexpr int kTurns = Bits == 4 ? 8 : 4;
  int32x4_t sum = vdupq_n_s32(0);
  UNROLL for (int t = 0; t < 8; t += kTurns) {
    int16x8_t first = vdupq_n_s16(0), second = first;  // of each vector's halves
    UNROLL for (int i = t; i < t + kTurns; i++) {
      const int8x16_t x = vld1q_s8(q + 32 * i);
      first = vmlal_s8(first, vget_low_s8(codes[i]), vget_low_s8(x));
      second = vmlal_high_s8(second, codes[i], x);
    }
    sum = vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(first), vpaddlq_s16(second)));
  }
  return sum;
}

}  // namespace bitnet

#define ISA(name) name##_neon
#include "kernels/level_gemv/arm.inc"
