#include <string.h>

#include "kernels/arm_neon.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;  // bytes that a stream of keys is prefetched ahead

// 16 elements as 16 bits, zeros from `count` on.
static inline void load_16(const int8_t* p, size_t count, int16x8_t x[2]) {
  int8_t rest[16] = {0};
  if (count < 16) p = static_cast<const int8_t*>(memcpy(rest, p, count));
  const int8x16_t bytes = vld1q_s8(p);
  x[0] = vmovl_s8(vget_low_s8(bytes));
  x[1] = vmovl_high_s8(bytes);
}

template <int R>
static inline void add_keys(int32x4_t acc[R][2], const int16_t* q, size_t padded, const int8_t* k,
                            size_t count) {
  int16x8_t key[2];
  load_16(k, count, key);
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < 2; j++) {
      const int16x8_t x = vld1q_s16(q + r * padded + 8 * j);
      acc[r][0] = vmlal_s16(acc[r][0], vget_low_s16(key[j]), vget_low_s16(x));
      acc[r][1] = vmlal_high_s16(acc[r][1], key[j], x);
    }
  }
}

template <int R>
static void score(size_t positions, size_t d, const int16_t* q, const int8_t* k,
                  const float* k_scale, const float* factor, const int8_t* next, float* scores,
                  size_t stride) {
  const size_t padded = (d + kPadInt8 - 1) / kPadInt8 * kPadInt8;
  for (size_t t = 0; t < positions; t++, k += d, next += d) {
    int32x4_t acc[R][2];
    UNROLL for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = vdupq_n_s32(0);
    size_t i = 0;
    for (; i + 16 <= d; i += 16) {
      if (i % 64 == 0) {
        prefetch(k + i + kAhead);
        prefetch(next + i);
      }
      add_keys<R>(acc, q + i, padded, k + i, 16);
    }
    if (i < d) add_keys<R>(acc, q + i, padded, k + i, d - i);
    UNROLL for (int r = 0; r < R; r++) {
      const int32_t sum = vaddvq_s32(vaddq_s32(acc[r][0], acc[r][1]));
      scores[r * stride + t] = static_cast<float>(sum) * k_scale[t] * factor[r];
    }
  }
}

void attend_scores_int8_neon(size_t rows, size_t positions, size_t d, const int16_t* q,
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

// R heads by `count` elements, at most 16.
template <int R>
static inline void blend(size_t positions, size_t d, size_t count, const int16_t* p,
                         const int8_t* v, const double* scale, double* sums, size_t s_stride) {
  int32x4_t acc[R][4];
  UNROLL for (int i = 0; i < 4 * R; i++) acc[i / 4][i % 4] = vdupq_n_s32(0);
  for (size_t t = 0; t < positions; t++, v += d) {
    prefetch(v + kAttendAhead * d);
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
                       const double* scale, double* sums, size_t s_stride) {
  size_t i = 0;
  for (; i + 16 <= d; i += 16) blend<R>(positions, d, 16, p, v + i, scale, sums + i, s_stride);
  if (i < d) blend<R>(positions, d, d - i, p, v + i, scale, sums + i, s_stride);
}

void attend_values_int8_neon(size_t rows, size_t positions, size_t d, const int16_t* p,
                             const int8_t* v, const double* scale, double* sums, size_t s_stride) {
  if (rows == 4) return blend_rows<4>(positions, d, p, v, scale, sums, s_stride);
  if (rows >= 2) blend_rows<2>(positions, d, p, v, scale, sums, s_stride);
  if (rows % 2 == 0) return;
  const size_t last = rows - 1;
  blend_rows<1>(positions, d, p + last * kAttendSpan, v, scale + last, sums + last * s_stride,
                s_stride);
}

}  // namespace bitnet
