#include <arm_neon.h>
#include <string.h>

#include "kernels/attend_softmax/attend_softmax.h"

namespace bitnet {

static inline float32x4_t exponential(float32x4_t x) {
  x = vmaxq_f32(x, vdupq_n_f32(kExpLeast));  // a NaN stays a NaN
  const float32x4_t magic = vdupq_n_f32(kRoundMagic);
  const float32x4_t shifted = vaddq_f32(vmulq_f32(x, vdupq_n_f32(kLog2E)), magic);
  const float32x4_t n = vsubq_f32(shifted, magic);
  const float32x4_t r = vsubq_f32(vsubq_f32(x, vmulq_f32(n, vdupq_n_f32(kLn2High))),
                                  vmulq_f32(n, vdupq_n_f32(kLn2Low)));
  float32x4_t sum = vdupq_n_f32(kExpTerms[0]);
  UNROLL for (int i = 1; i < 8; i++) {
    sum = vaddq_f32(vmulq_f32(sum, r), vdupq_n_f32(kExpTerms[i]));
  }
  const uint32x4_t bias = vdupq_n_u32(127 - kRoundMagicBits);
  const uint32x4_t power = vshlq_n_u32(vaddq_u32(vreinterpretq_u32_f32(shifted), bias), 23);
  return vmulq_f32(sum, vreinterpretq_f32_u32(power));
}

// weights[0..16) = exp(scores - peak)
static inline void exponentials(const float* scores, float32x4_t peak, double* weights) {
  UNROLL for (int i = 0; i < 4; i++) {
    const float32x4_t e = exponential(vsubq_f32(vld1q_f32(scores + 4 * i), peak));
    vst1q_f64(weights + 4 * i, vcvt_f64_f32(vget_low_f32(e)));
    vst1q_f64(weights + 4 * i + 2, vcvt_high_f64_f32(e));
  }
}

double attend_softmax_neon(size_t positions, const float* scores, double* weights) {
  float32x4_t most = vdupq_n_f32(scores[0]);
  size_t t = 0;
  for (; t + 4 <= positions; t += 4) most = vmaxq_f32(most, vld1q_f32(scores + t));
  for (; t < positions; t++) most = vmaxq_f32(most, vdupq_n_f32(scores[t]));
  const float32x4_t peak = vdupq_n_f32(vmaxvq_f32(most));
  float64x2_t lanes[8];
  UNROLL for (int i = 0; i < 8; i++) lanes[i] = vdupq_n_f64(0);
  for (t = 0; t + 16 <= positions; t += 16) {
    exponentials(scores + t, peak, weights + t);
    UNROLL for (int i = 0; i < 8; i++) {
      lanes[i] = vaddq_f64(lanes[i], vld1q_f64(weights + t + 2 * i));
    }
  }
  if (t < positions) {
    float rest[16] = {0};
    double last[16];
    memcpy(rest, scores + t, (positions - t) * sizeof(float));
    exponentials(rest, peak, last);
    memcpy(weights + t, last, (positions - t) * sizeof(double));
    for (size_t i = positions - t; i < 16; i++) last[i] = 0;
    UNROLL for (int i = 0; i < 8; i++) lanes[i] = vaddq_f64(lanes[i], vld1q_f64(last + 2 * i));
  }
  UNROLL for (int half = 4; half > 0; half /= 2) {
    UNROLL for (int i = 0; i < half; i++) lanes[i] = vaddq_f64(lanes[i], lanes[i + half]);
  }
  return vpaddd_f64(lanes[0]);
}

}  // namespace bitnet
