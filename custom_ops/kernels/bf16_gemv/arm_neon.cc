#include "kernels/arm_neon.h"

#include <string.h>

#include "kernels/bf16_gemv/ahead.h"
#include "kernels/bf16_gemv/bf16_gemv.h"

#define ISA(name) name##_neon

namespace bitnet {

static constexpr size_t kAhead = 4096;
static constexpr int kWide = 1;

// acc[0..4) takes lanes 0 2, 4 6, 8 10, 12 14 of 16 weights, acc[4..8) lanes 1 3, 5 7, 9 11, 13 15:
// bfloat16 pairs are 32-bit words whose low half is the even weight.
template <int R, int M>
static inline void bf16_step(float64x2_t (*acc)[M][8], const double* const* x, size_t i,
                             const uint8_t* const* w) {
  const uint32x4_t top = vdupq_n_u32(0xffff0000);
  UNROLL for (int half = 0; half < 2; half++) {
    UNROLL for (int r = 0; r < R; r++) {
      const uint32x4_t pairs = vreinterpretq_u32_u8(vld1q_u8(w[r] + 16 * half));
      const float32x4_t even = vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
      const float32x4_t odd = vreinterpretq_f32_u32(vandq_u32(pairs, top));
      const float64x2_t wide[4] = {vcvt_f64_f32(vget_low_f32(even)), vcvt_high_f64_f32(even),
                                   vcvt_f64_f32(vget_low_f32(odd)), vcvt_high_f64_f32(odd)};
      UNROLL for (int m = 0; m < M; m++) {
        UNROLL for (int j = 0; j < 4; j++) {
          float64x2_t* lanes = acc[r][m] + j / 2 * 4 + 2 * half + j % 2;
          const float64x2_t v = vld1q_f64(x[m] + i + j / 2 * 8 + 4 * half + j % 2 * 2);
          *lanes = vfmaq_f64(*lanes, v, wide[j]);
        }
      }
    }
  }
}

static inline float fold(const float64x2_t* a) {  // lanes +8, +4, +2, +1
  const float64x2_t even = vaddq_f64(vaddq_f64(a[0], a[2]), vaddq_f64(a[1], a[3]));
  const float64x2_t odd = vaddq_f64(vaddq_f64(a[4], a[6]), vaddq_f64(a[5], a[7]));
  return static_cast<float>(vpaddd_f64(vpaddq_f64(even, odd)));
}

template <int R, int M>
static void bf16_rows(size_t k, const double* const* x, const uint8_t* w, const uint8_t* next,
                      float* const* y, size_t n) {
  float64x2_t acc[R][M][8];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int m = 0; m < M; m++) {
      UNROLL for (int j = 0; j < 8; j++) acc[r][m][j] = vdupq_n_f64(0);
    }
  }
  const uint8_t* p[R];
  size_t i = 0;
  for (; i + 16 <= k; i += 16) {
    UNROLL for (int r = 0; r < R; r++) p[r] = w + 2 * (r * k + i);
    fetch<R>(next + (p[i / 16 % R] - w));  // one row's line in each turn
    bf16_step<R, M>(acc, x, i, p);
  }
  if (i < k) {
    uint8_t rest[R][32] = {{0}};
    UNROLL for (int r = 0; r < R; r++) {
      memcpy(rest[r], w + 2 * (r * k + i), 2 * (k - i));
      p[r] = rest[r];
    }
    bf16_step<R, M>(acc, x, i, p);
  }
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int m = 0; m < M; m++) y[m][n + r] = fold(acc[r][m]);
  }
}

}  // namespace bitnet

#include "kernels/bf16_gemv/few.inc"
