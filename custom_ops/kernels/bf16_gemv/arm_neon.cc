#include "kernels/arm_neon.h"

#include <string.h>

#include "kernels/bf16_gemv/bf16_gemv.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;

// acc[0..4) takes lanes 0 2, 4 6, 8 10, 12 14 of 16 weights, acc[4..8) lanes 1 3, 5 7, 9 11, 13 15:
// bfloat16 pairs are 32-bit words whose low half is the even weight.
template <int R>
static inline void bf16_step(float64x2_t acc[R][8], const double* x, const uint8_t* const w[R]) {
  const uint32x4_t top = vdupq_n_u32(0xffff0000);
  UNROLL for (int half = 0; half < 2; half++) {
    float64x2_t v[4];
    UNROLL for (int i = 0; i < 4; i++) v[i] = vld1q_f64(x + i / 2 * 8 + 4 * half + i % 2 * 2);
    UNROLL for (int r = 0; r < R; r++) {
      const uint32x4_t pairs = vreinterpretq_u32_u8(vld1q_u8(w[r] + 16 * half));
      const float32x4_t even = vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
      const float32x4_t odd = vreinterpretq_f32_u32(vandq_u32(pairs, top));
      float64x2_t *to_even = acc[r] + 2 * half, *to_odd = acc[r] + 4 + 2 * half;
      to_even[0] = vfmaq_f64(to_even[0], v[0], vcvt_f64_f32(vget_low_f32(even)));
      to_even[1] = vfmaq_f64(to_even[1], v[1], vcvt_high_f64_f32(even));
      to_odd[0] = vfmaq_f64(to_odd[0], v[2], vcvt_f64_f32(vget_low_f32(odd)));
      to_odd[1] = vfmaq_f64(to_odd[1], v[3], vcvt_high_f64_f32(odd));
    }
  }
}

// A single row is the last one, or one of TwoStepMatMul: what follows is not read.
template <int R>
static void bf16_rows(size_t k, const double* x, const uint8_t* w, float* y) {
  float64x2_t acc[R][8];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < 8; j++) acc[r][j] = vdupq_n_f64(0);
  }
  const uint8_t* p[R];
  size_t i = 0;
  for (; i + 16 <= k; i += 16) {
    UNROLL for (int r = 0; r < R; r++) p[r] = w + 2 * (r * k + i);
    if (R > 1) PREFETCH(p[i / 16 % R] + kAhead);  // one row's line in each turn
    bf16_step<R>(acc, x + i, p);
  }
  if (i < k) {
    uint8_t rest[R][32] = {{0}};
    UNROLL for (int r = 0; r < R; r++) {
      memcpy(rest[r], w + 2 * (r * k + i), 2 * (k - i));
      p[r] = rest[r];
    }
    bf16_step<R>(acc, x + i, p);
  }
  UNROLL for (int r = 0; r < R; r++) {  // lanes +8, +4, +2, +1
    const float64x2_t* a = acc[r];
    const float64x2_t even = vaddq_f64(vaddq_f64(a[0], a[2]), vaddq_f64(a[1], a[3]));
    const float64x2_t odd = vaddq_f64(vaddq_f64(a[4], a[6]), vaddq_f64(a[5], a[7]));
    y[r] = static_cast<float>(vpaddd_f64(vpaddq_f64(even, odd)));
  }
}

void bf16_gemv_neon(size_t rows, size_t k, const double* x, const uint8_t* w, float* y) {
  size_t n = 0;
  for (; n + 2 <= rows; n += 2) bf16_rows<2>(k, x, w + 2 * n * k, y + n);
  for (; n < rows; n++) bf16_rows<1>(k, x, w + 2 * n * k, y + n);
}

}  // namespace bitnet
