#include <arm_neon.h>
#include <string.h>

#include "kernels/attend_weights_int8/attend_weights_int8.h"

namespace bitnet {

void attend_weights_int8_neon(size_t rows, size_t positions, const double* weights, size_t stride,
                              const float* v_scale, int16_t* p, double* scale) {
  double wide[kAttendSpan] = {0};
  float scales[kAttendSpan] = {0}, x[kAttendSpan];
  memcpy(scales, v_scale, positions * sizeof(float));
  for (size_t r = 0; r < rows; r++, p += kAttendSpan, weights += stride) {
    memcpy(wide, weights, positions * sizeof(double));
    uint32x4_t most = vreinterpretq_u32_f32(vdupq_n_f32(kLeastPeak));
    for (size_t t = 0; t < kAttendSpan; t += 4) {
      const float32x4_t four =
          vcvt_high_f32_f64(vcvt_f32_f64(vld1q_f64(wide + t)), vld1q_f64(wide + t + 2));
      const float32x4_t product = vmulq_f32(four, vld1q_f32(scales + t));
      vst1q_f32(x + t, product);
      // Positive floats order as their bits do, and NaN and infinity come above all others.
      most = vmaxq_u32(most, vreinterpretq_u32_f32(vabsq_f32(product)));
    }
    const uint32_t peak_bits = vmaxvq_u32(most);
    float peak;
    memcpy(&peak, &peak_bits, sizeof peak);
    const float s = kPeakInt16 / peak, poison = peak * 0;  // 0, or NaN where an x is not finite
    const int16x4_t finite = vdup_n_s16(poison == 0 ? -1 : 0);
    for (size_t t = 0; t < kAttendSpan; t += 4) {
      const int32x4_t code = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + t), s));
      vst1_s16(p + t, vand_s16(vmovn_s32(code), finite));
    }
    scale[r] = static_cast<double>(1.0f / s + poison);
  }
}

}  // namespace bitnet
