#include "kernels/arm_neon_attend.h"
#include "kernels/attend_values_int8/attend_values_int8.h"

namespace bitnet {

// R heads by `count` elements, at most 16.
template <int R>
static inline void blend(size_t positions, size_t d, size_t count, const int16_t* p,
                         const int8_t* v, const double* scale, const int8_t* next, double* sums,
                         size_t s_stride) {
  int32x4_t acc[R][4];
  UNROLL for (int i = 0; i < 4 * R; i++) acc[i / 4][i % 4] = vdupq_n_s32(0);
  for (size_t t = 0; t < positions; t++, v += d, next += d) {
    PREFETCH(v + kAttendAhead * d);
    PREFETCH_FAR(next);
    int16x8_t x[2];
    load_16(v, count, x);
    UNROLL for (int r = 0; r < R; r++) {
      const int16_t weight = p[r * kAttendSpan + t];
      UNROLL for (int j = 0; j < 2; j++) {
        acc[r][2 * j] = vmlal_n_s16(acc[r][2 * j], vget_low_s16(x[j]), weight);
        acc[r][2 * j + 1] = vmlal_high_n_s16(acc[r][2 * j + 1], x[j], weight);
      }
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (size_t i = 0; i < 16; i += 4) {
      if (i / 8 * 8 >= count) break;
      double* to = sums + r * s_stride + i;
      const int32x4_t four = acc[r][i / 4];
      const float64x2_t low = vcvtq_f64_s64(vmovl_s32(vget_low_s32(four)));
      const float64x2_t high = vcvtq_f64_s64(vmovl_high_s32(four));
      vst1q_f64(to, vfmaq_n_f64(vld1q_f64(to), low, scale[r]));
      vst1q_f64(to + 2, vfmaq_n_f64(vld1q_f64(to + 2), high, scale[r]));
    }
  }
}

template <int R>
static void blend_rows(size_t positions, size_t d, const int16_t* p, const int8_t* v,
                       const double* scale, const int8_t* next, double* sums, size_t s_stride) {
  size_t i = 0;
  for (; i + 16 <= d; i += 16)
    blend<R>(positions, d, 16, p, v + i, scale, next + i, sums + i, s_stride);
  if (i < d) blend<R>(positions, d, d - i, p, v + i, scale, next + i, sums + i, s_stride);
}

}  // namespace bitnet

#define ISA(name) name##_neon
#include "kernels/attend_values_int8/by_rows.inc"
