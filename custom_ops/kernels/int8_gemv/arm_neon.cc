#include "kernels/arm_neon.h"

#include <string.h>

#include "kernels/int8_gemv/int8_gemv.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;

// int8 weights widen to 16 bits; one step adds two products to each lane of two sums.
static constexpr size_t kInt8Steps = 256;  // between two widenings to int64
static_assert(kInt8Steps * 2 * 32512 * 128 <= INT32_MAX, "int32 lanes");

static inline void int8_step(int32x4_t acc[2], const int16x8_t q[2], const uint8_t* w) {
  const int8x16_t bytes = vreinterpretq_s8_u8(vld1q_u8(w));
  const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
  acc[0] = vmlal_s16(acc[0], vget_low_s16(low), vget_low_s16(q[0]));
  acc[1] = vmlal_high_s16(acc[1], low, q[0]);
  acc[0] = vmlal_s16(acc[0], vget_low_s16(high), vget_low_s16(q[1]));
  acc[1] = vmlal_high_s16(acc[1], high, q[1]);
}

template <int R>
static void int8_rows(size_t k, const int16_t* q, const uint8_t* w, int64_t* sums) {
  int64x2_t wide[R];
  UNROLL for (int r = 0; r < R; r++) wide[r] = vdupq_n_s64(0);
  for (size_t begin = 0; begin < k; begin += 16 * kInt8Steps) {
    const size_t end = k - begin < 16 * kInt8Steps ? k : begin + 16 * kInt8Steps;
    int32x4_t acc[R][2];
    UNROLL for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = vdupq_n_s32(0);
    size_t i = begin;
    for (; i + 16 <= end; i += 16) {
      const int16x8_t x[2] = {vld1q_s16(q + i), vld1q_s16(q + i + 8)};
      PREFETCH(w + i / 16 % R * k + i + kAhead);  // one row's line in each turn
      UNROLL for (int r = 0; r < R; r++) int8_step(acc[r], x, w + r * k + i);
    }
    UNROLL for (int r = 0; r < R; r++) {
      if (i < end) {
        const int16x8_t x[2] = {vld1q_s16(q + i), vld1q_s16(q + i + 8)};
        uint8_t rest[16] = {0};
        memcpy(rest, w + r * k + i, end - i);
        int8_step(acc[r], x, rest);
      }
      wide[r] = vpadalq_s32(vpadalq_s32(wide[r], acc[r][0]), acc[r][1]);
    }
  }
  UNROLL for (int r = 0; r < R; r++) sums[r] = vaddvq_s64(wide[r]);
}

}  // namespace bitnet

#define ISA(name) name##_neon
#include "kernels/int8_gemv/by_rows.inc"
