#include "kernels/arm_neon_attend.h"
#include "kernels/attend_values/ahead.h"
#include "kernels/attend_values/attend_values.h"

namespace bitnet {

// sums[r][0..8) += weights x v for R heads; v has `count` elements.
template <int R, typename Cache>
static inline void blend(size_t positions, size_t d, const double* weights, size_t stride,
                         const Cache* v, size_t count, double* sums, size_t s_stride) {
  float64x2_t acc[R][4];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < 4; j++) acc[r][j] = vld1q_f64(sums + r * s_stride + 2 * j);
  }
  for (size_t t = 0; t < positions; t++, v += d) {
    float64x2_t value[4];
    load_8(v, count, value);
    UNROLL for (int r = 0; r < R; r++) {
      const float64x2_t weight = vdupq_n_f64(weights[r * stride + t]);
      UNROLL for (int j = 0; j < 4; j++) acc[r][j] = vfmaq_f64(acc[r][j], weight, value[j]);
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < 4; j++) vst1q_f64(sums + r * s_stride + 2 * j, acc[r][j]);
  }
}

template <int R, typename Cache>
static void blend_rows(size_t positions, size_t width, size_t d, const double* weights,
                       size_t stride, const Cache* v, double* sums, size_t s_stride) {
  Ahead<Cache> ahead = {v + kAttendAhead * d, 0, width, d};
  size_t i = 0;
  for (; i + 8 <= width; i += 8) {
    // all lines
    for (size_t t = 0; t < positions; t += 8 / sizeof(Cache)) ahead.next();
    blend<R>(positions, d, weights, stride, v + i, 8, sums + i, s_stride);
  }
  if (i < width) blend<R>(positions, d, weights, stride, v + i, width - i, sums + i, s_stride);
}

}  // namespace bitnet

#define ISA(name) name##_neon
#include "kernels/attend_values/by_rows.inc"
