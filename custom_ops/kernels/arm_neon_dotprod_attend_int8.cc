#include <string.h>

#include "kernels/arm_neon_dotprod.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;  // bytes that a stream of keys is prefetched ahead

// Queries and weights are 256 * high + low, both int8: each has its own sums, of which the high
// ones count 256 times. Their total is within int32 (kernel.h), so it may wrap on the way.
static inline int32x4_t join(int32x4_t low, int32x4_t high) {
  return vaddq_s32(low, vshlq_n_s32(high, 8));
}

// The low bytes of 16 elements after another, then their high bytes, and so on.
static inline void split_row(const int16_t* x, size_t count, int8_t* to) {
  for (size_t i = 0; i < count; i += 16) {
    int8x16_t bytes[2];
    split(x + i, bytes);
    vst1q_s8(to + 2 * i, bytes[0]);
    vst1q_s8(to + 2 * i + 16, bytes[1]);
  }
}

template <int R>
static inline void add_key(int32x4_t acc[4][2], int8x16_t key, const int8_t* q) {
  UNROLL for (int r = 0; r < R; r++) {
    const int8_t* x = q + r * 2 * kAttendDepth;
    acc[r][0] = vdotq_s32(acc[r][0], key, vld1q_s8(x));
    acc[r][1] = vdotq_s32(acc[r][1], key, vld1q_s8(x + 16));
  }
}

template <int R>
static void score(size_t positions, size_t d, const int16_t* q, const int8_t* k,
                  const float* k_scale, const float* factor, const int8_t* next, float* scores,
                  size_t stride) {
  static_assert(kPadInt8 % 16 == 0, "whole vectors of the query");
  const size_t padded = (d + kPadInt8 - 1) / kPadInt8 * kPadInt8;
  int8_t halves[R * 2 * kAttendDepth];
  float factors[4] = {0};
  for (int r = 0; r < R; r++) {
    split_row(q + r * padded, padded, halves + r * 2 * kAttendDepth);
    factors[r] = factor[r];
  }
  for (size_t t = 0; t < positions; t++, k += d, next += d) {
    int32x4_t acc[4][2];
    UNROLL for (int r = 0; r < 4; r++) acc[r][0] = acc[r][1] = vdupq_n_s32(0);
    size_t i = 0;
    ROLLED for (; i + 16 <= d; i += 16) {
      if (i % 64 == 0) {
        prefetch(k + i + kAhead);
        prefetch(next + i);
      }
      add_key<R>(acc, vld1q_s8(k + i), halves + 2 * i);
    }
    if (i < d) {
      int8_t rest[16] = {0};
      memcpy(rest, k + i, d - i);
      add_key<R>(acc, vld1q_s8(rest), halves + 2 * i);
    }
    int32x4_t sum[4];
    UNROLL for (int r = 0; r < 4; r++) sum[r] = join(acc[r][0], acc[r][1]);
    const float32x4_t four = vcvtq_f32_s32(add_lanes(sum[0], sum[1], sum[2], sum[3]));
    float y[4];
    vst1q_f32(y, vmulq_f32(vmulq_n_f32(four, k_scale[t]), vld1q_f32(factors)));
    UNROLL for (int r = 0; r < R; r++) scores[r * stride + t] = y[r];
  }
}

void attend_scores_int8_neon_dotprod(size_t rows, size_t positions, size_t d, const int16_t* q,
                                     const int8_t* k, const float* k_scale, const float* factor,
                                     const int8_t* next, float* scores, size_t stride) {
  static_assert(kAttendRows == 4, "4 rows, or fewer as 2 and 1");
  if (rows == 4) return score<4>(positions, d, q, k, k_scale, factor, next, scores, stride);
  if (rows >= 2) score<2>(positions, d, q, k, k_scale, factor, next, scores, stride);
  if (rows % 2 == 0) return;
  const size_t last = rows - 1, padded = (d + kPadInt8 - 1) / kPadInt8 * kPadInt8;
  score<1>(positions, d, q + last * padded, k, k_scale, factor + last, next, scores + last * stride,
           stride);
}

// 8 elements of positions t to t + 3, those of one element after another; past the last position
// comes the last one again, whose weight is 0 there.
static inline void load_four(const int8_t* v, size_t d, size_t count, size_t t, size_t positions,
                             int8x16_t four[2]) {
  int8x16_t row[4];
  UNROLL for (size_t i = 0; i < 4; i++) {
    const int8_t* p = v + (t + i < positions ? t + i : positions - 1) * d;
    int8_t rest[8] = {0};
    prefetch(p + kAttendAhead * d);
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
                         const double* scale, double* sums, size_t s_stride) {
  int32x4_t acc[R][2][2];
  UNROLL for (int i = 0; i < 4 * R; i++) acc[i / 4][i / 2 % 2][i % 2] = vdupq_n_s32(0);
  ROLLED for (size_t t = 0; t < positions; t += 16) {
    int8x16_t w[R][2], four[2];
    UNROLL for (int i = 0; i < 2 * R; i++) {
      w[i / 2][i % 2] = vld1q_s8(p + i / 2 * 2 * kAttendSpan + 2 * t + i % 2 * 16);
    }
    load_four(v, d, count, t, positions, four);
    add_four<0, R>(acc, four, w);
    load_four(v, d, count, t + 4, positions, four);
    add_four<1, R>(acc, four, w);
    load_four(v, d, count, t + 8, positions, four);
    add_four<2, R>(acc, four, w);
    load_four(v, d, count, t + 12, positions, four);
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
                       const double* scale, double* sums, size_t s_stride) {
  static_assert(kAttendSpan % 16 == 0 && kPadHead == 8, "whole vectors");
  int8_t halves[R * 2 * kAttendSpan];
  split_row(p, R * kAttendSpan, halves);
  size_t i = 0;
  for (; i + 8 <= d; i += 8) blend<R>(positions, d, 8, halves, v + i, scale, sums + i, s_stride);
  if (i < d) blend<R>(positions, d, d - i, halves, v + i, scale, sums + i, s_stride);
}

void attend_values_int8_neon_dotprod(size_t rows, size_t positions, size_t d, const int16_t* p,
                                     const int8_t* v, const double* scale, double* sums,
                                     size_t s_stride) {
  if (rows == 4) return blend_rows<4>(positions, d, p, v, scale, sums, s_stride);
  if (rows >= 2) blend_rows<2>(positions, d, p, v, scale, sums, s_stride);
  if (rows % 2 == 0) return;
  const size_t last = rows - 1;
  blend_rows<1>(positions, d, p + last * kAttendSpan, v, scale + last, sums + last * s_stride,
                s_stride);
}

}  // namespace bitnet
