#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/rows/rows.h"

namespace bitnet {

static inline void add_products(size_t count, const float* x, const void* w, const uint8_t* next,
                                const float* out, double* lanes) {
  const uint8_t* weight = static_cast<const uint8_t*>(w);
  float64x2_t sums[8];
  UNROLL for (int j = 0; j < 8; j++) sums[j] = vld1q_f64(lanes + 2 * j);
  for (size_t i = 0; i < count; i += 16) {
    PREFETCH(next + i * sizeof(float));
    PREFETCH(out + i);
    UNROLL for (int j = 0; j < 8; j += 2) {
      const float32x4_t a = vld1q_f32(x + i + 2 * j);
      const float32x4_t b = vreinterpretq_f32_u8(vld1q_u8(weight + (i + 2 * j) * sizeof(float)));
      const float64x2_t low = vcvt_f64_f32(vget_low_f32(a)), high = vcvt_high_f64_f32(a);
      // A product is exact, so this rounds once as + does.
      sums[j] = vfmaq_f64(sums[j], low, vcvt_f64_f32(vget_low_f32(b)));
      sums[j + 1] = vfmaq_f64(sums[j + 1], high, vcvt_high_f64_f32(b));
    }
  }
  UNROLL for (int j = 0; j < 8; j++) vst1q_f64(lanes + 2 * j, sums[j]);
}

}  // namespace bitnet

#define ISA(name) name##_neon
#include "kernels/rows/rows.inc"
