#include "kernels/arm_neon_dotprod.h"

#include <string.h>

#include "kernels/attend_values_int8/attend_values_int8.h"

namespace bitnet {

// 8 elements of positions t to t + 3, element by element. Past the last position the last one is
// repeated; its weight is 0 there.
static inline void load_four(const int8_t* v, size_t d, size_t count, size_t t, size_t positions,
                             const int8_t* next, int8x16_t four[2]) {
  int8x16_t row[4];
  UNROLL for (size_t i = 0; i < 4; i++) {
    const int8_t* p = v + (t + i < positions ? t + i : positions - 1) * d;
    int8_t rest[8] = {0};
    PREFETCH(p + kAttendAhead * d);
    PREFETCH_FAR(next + (t + i) * d);
    if (count < 8) p = static_cast<const int8_t*>(memcpy(rest, p, count));
    row[i] = vcombine_s8(vld1_s8(p), vdup_n_s8(0));
  }
  const int16x8_t a = vreinterpretq_s16_s8(vzip1q_s8(row[0], row[1]));
  const int16x8_t b = vreinterpretq_s16_s8(vzip1q_s8(row[2], row[3]));
  four[0] = vreinterpretq_s8_s16(vzip1q_s16(a, b));
  four[1] = vreinterpretq_s8_s16(vzip2q_s16(a, b));
}

// acc[r][low or high][elements 0 to 3 or 4 to 7] += 4 positions, whose weights are w's lane.
template <int Lane, int R>
static inline void add_four(int32x4_t acc[R][2][2], const int8x16_t v[2], const int8x16_t w[R][2]) {
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int i = 0; i < 4; i++) {
      acc[r][i / 2][i % 2] = vdotq_laneq_s32(acc[r][i / 2][i % 2], v[i % 2], w[r][i / 2], Lane);
    }
  }
}

// R heads by `count` elements, at most 8; p: split weights
template <int R>
static inline void blend(size_t positions, size_t d, size_t count, const int8_t* p, const int8_t* v,
                         const double* scale, const int8_t* next, double* sums, size_t s_stride) {
  int32x4_t acc[R][2][2];
  UNROLL for (int i = 0; i < 4 * R; i++) acc[i / 4][i / 2 % 2][i % 2] = vdupq_n_s32(0);
  ROLLED for (size_t t = 0; t < positions; t += 16) {
    int8x16_t w[R][2], four[2];
    UNROLL for (int i = 0; i < 2 * R; i++) {
      w[i / 2][i % 2] = vld1q_s8(p + i / 2 * 2 * kAttendSpan + 2 * t + i % 2 * 16);
    }
    load_four(v, d, count, t, positions, next, four);
    add_four<0, R>(acc, four, w);
    load_four(v, d, count, t + 4, positions, next, four);
    add_four<1, R>(acc, four, w);
    load_four(v, d, count, t + 8, positions, next, four);
    add_four<2, R>(acc, four, w);
    load_four(v, d, count, t + 12, positions, next, four);
    add_four<3, R>(acc, four, w);
  }
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < 2; j++) {
      double* to = sums + r * s_stride + 4 * j;
      const int32x4_t sum = join(acc[r][0][j], acc[r][1][j]);
      const float64x2_t low = vcvtq_f64_s64(vmovl_s32(vget_low_s32(sum)));
      const float64x2_t high = vcvtq_f64_s64(vmovl_high_s32(sum));
      vst1q_f64(to, vfmaq_n_f64(vld1q_f64(to), low, scale[r]));
      vst1q_f64(to + 2, vfmaq_n_f64(vld1q_f64(to + 2), high, scale[r]));
    }
  }
}

template <int R>
static void blend_rows(size_t positions, size_t d, const int16_t* p, const int8_t* v,
                       const double* scale, const int8_t* next, double* sums, size_t s_stride) {
  static_assert(kAttendSpan % 16 == 0 && kPadHead == 8, "whole vectors");
  int8_t halves[R * 2 * kAttendSpan];
  split_row(p, R * kAttendSpan, halves);
  size_t i = 0;
  for (; i + 8 <= d; i += 8)
    blend<R>(positions, d, 8, halves, v + i, scale, next + i, sums + i, s_stride);
  if (i < d) blend<R>(positions, d, d - i, halves, v + i, scale, next + i, sums + i, s_stride);
}

}  // namespace bitnet

#define ISA(name) name##_neon_dotprod
#include "kernels/attend_values_int8/by_rows.inc"
