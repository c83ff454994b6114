#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/int8_gemv/int8_gemv.h"

namespace bitnet {

using Lanes = int32x4_t;

struct Step {
  size_t rows;
  void (*products)(size_t, const int16_t*, size_t, const uint8_t* const*, Lanes*);
};

static constexpr size_t kAhead = 4096;

// int8 weights widen to 16 bits; 16 k add four products to each int32 lane.
static constexpr size_t kDepth = 16 * 128;
static_assert(4ll * 32512 * 128 * (kDepth / 16) <= INT32_MAX, "int32 lanes");

template <int R, int M>
static void products(size_t depth, const int16_t* q, size_t q_stride, const uint8_t* const* row,
                     Lanes* lanes) {
  int32x4_t acc[M][R];
  UNROLL for (int i = 0; i < R * M; i++) acc[i / R][i % R] = vdupq_n_s32(0);
  for (size_t i = 0; i < depth; i += 16) {
    PREFETCH(row[i / 16 % R] + i / 64 * 64 + kAhead);  // one row's line in each turn
    int16x8_t low[R], high[R];
    UNROLL for (int r = 0; r < R; r++) {
      const int8x16_t bytes = vreinterpretq_s8_u8(vld1q_u8(row[r] + i));
      low[r] = vmovl_s8(vget_low_s8(bytes));
      high[r] = vmovl_high_s8(bytes);
    }
    UNROLL for (int m = 0; m < M; m++) {
      const int16_t* x = q + m * q_stride + i;
      const int16x8_t a = vld1q_s16(x), b = vld1q_s16(x + 8);
      UNROLL for (int r = 0; r < R; r++) {
        int32x4_t sum = vmlal_s16(acc[m][r], vget_low_s16(low[r]), vget_low_s16(a));
        sum = vmlal_high_s16(sum, low[r], a);
        sum = vmlal_s16(sum, vget_low_s16(high[r]), vget_low_s16(b));
        acc[m][r] = vmlal_high_s16(sum, high[r], b);
      }
    }
  }
  UNROLL for (int i = 0; i < R * M; i++) lanes[i] = acc[i / R][i % R];
}

static inline int64_t lane_sum(const Lanes& lanes) { return vaddlvq_s32(lanes); }

// 16 sums, 8 vectors of weights, 2 of activations: 26 of the 32 registers.
static const Step kSteps[] = {
    {4, products<4, 1>}, {4, products<4, 2>}, {4, products<4, 3>}, {4, products<4, 4>}};

}  // namespace bitnet

#define ISA(name) name##_neon
#include "kernels/int8_gemv/few.inc"
