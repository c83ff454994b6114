#include <string.h>

#include "kernels/arm_neon.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;  // bytes that a stream of keys is prefetched ahead

static inline void load_8(const float* p, float32x4_t v[2]) {
  v[0] = vld1q_f32(p);
  v[1] = vld1q_f32(p + 4);
}

static inline void load_8(const uint16_t* p, float32x4_t v[2]) {
  const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(p));
  v[0] = vcvt_f32_f16(vget_low_f16(halves));
  v[1] = vcvt_high_f32_f16(halves);
}

// 8 elements, zeros from `count` on.
template <typename Cache>
static inline void load_8(const Cache* p, size_t count, float64x2_t v[4]) {
  Cache rest[8] = {0};
  if (count < 8) {
    memcpy(rest, p, count * sizeof(Cache));
    p = rest;
  }
  float32x4_t x[2];
  load_8(p, x);
  v[0] = vcvt_f64_f32(vget_low_f32(x[0]));
  v[1] = vcvt_high_f64_f32(x[0]);
  v[2] = vcvt_f64_f32(vget_low_f32(x[1]));
  v[3] = vcvt_high_f64_f32(x[1]);
}

template <int R, typename Cache>
static inline void add_scores(float64x2_t acc[R][4], const double* q, size_t padded, const Cache* k,
                              size_t count) {
  float64x2_t key[4];
  load_8(k, count, key);
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < 4; j++) {
      acc[r][j] = vfmaq_f64(acc[r][j], vld1q_f64(q + r * padded + 2 * j), key[j]);
    }
  }
}

template <int R, typename Cache>
static void score_rows(size_t positions, size_t d, const double* q, const Cache* k, float root,
                       float* scores, size_t stride) {
  const size_t padded = (d + kPadHead - 1) / kPadHead * kPadHead;
  for (size_t t = 0; t < positions; t++, k += d) {
    float64x2_t acc[R][4];
    UNROLL for (int i = 0; i < 4 * R; i++) acc[i / 4][i % 4] = vdupq_n_f64(0);
    size_t i = 0;
    for (; i + 8 <= d; i += 8) {
      prefetch(k + i + kAhead / sizeof(Cache));
      add_scores<R>(acc, q + i, padded, k + i, 8);
    }
    if (i < d) add_scores<R>(acc, q + i, padded, k + i, d - i);
    UNROLL for (int r = 0; r < R; r++) {  // lanes +4, +2, +1
      const float64x2_t* a = acc[r];
      const float64x2_t two = vaddq_f64(vaddq_f64(a[0], a[2]), vaddq_f64(a[1], a[3]));
      scores[r * stride + t] = static_cast<float>(vpaddd_f64(two)) / root;
    }
  }
}

template <typename Cache>
static void score_all(size_t rows, size_t positions, size_t d, const double* q, const Cache* k,
                      float root, float* scores, size_t stride) {
  static_assert(kAttendRows == 4, "4 rows, or fewer as 2 and 1");
  if (rows == 4) return score_rows<4>(positions, d, q, k, root, scores, stride);
  if (rows >= 2) score_rows<2>(positions, d, q, k, root, scores, stride);
  if (rows % 2 == 0) return;
  const size_t last = rows - 1, padded = (d + kPadHead - 1) / kPadHead * kPadHead;
  score_rows<1>(positions, d, q + last * padded, k, root, scores + last * stride, stride);
}

void attend_scores_neon(size_t rows, size_t positions, size_t d, const double* q, const float* k,
                        float root, float* scores, size_t stride) {
  score_all(rows, positions, d, q, k, root, scores, stride);
}

void attend_scores_f16_neon(size_t rows, size_t positions, size_t d, const double* q,
                            const uint16_t* k, float root, float* scores, size_t stride) {
  score_all(rows, positions, d, q, k, root, scores, stride);
}

static inline float32x4_t exponential(float32x4_t x) {
  x = vmaxq_f32(x, vdupq_n_f32(kExpLeast));  // a NaN stays one
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

// Where the values of later positions are, line after line in the order of memory.
template <typename Cache>
struct Ahead {
  const Cache* row;
  size_t at, width, d;
  void next() {
    prefetch(row + at);
    at += 64 / sizeof(Cache);
    if (at < width) return;
    at = 0;
    row += d;
  }
};

// sums[r][0..8) += weights x v for R heads; of v there are `count` elements.
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
    // as many lines as there are
    for (size_t t = 0; t < positions; t += 8 / sizeof(Cache)) ahead.next();
    blend<R>(positions, d, weights, stride, v + i, 8, sums + i, s_stride);
  }
  if (i < width) blend<R>(positions, d, weights, stride, v + i, width - i, sums + i, s_stride);
}

template <typename Cache>
static void blend_all(size_t rows, size_t positions, size_t width, size_t d, const double* weights,
                      size_t stride, const Cache* v, double* sums, size_t s_stride) {
  if (rows == 4) return blend_rows<4>(positions, width, d, weights, stride, v, sums, s_stride);
  if (rows >= 2) blend_rows<2>(positions, width, d, weights, stride, v, sums, s_stride);
  if (rows % 2 == 0) return;
  const size_t last = rows - 1;
  blend_rows<1>(positions, width, d, weights + last * stride, stride, v, sums + last * s_stride,
                s_stride);
}

void attend_values_neon(size_t rows, size_t positions, size_t width, size_t d,
                        const double* weights, size_t stride, const float* v, double* sums,
                        size_t s_stride) {
  blend_all(rows, positions, width, d, weights, stride, v, sums, s_stride);
}

void attend_values_f16_neon(size_t rows, size_t positions, size_t width, size_t d,
                            const double* weights, size_t stride, const uint16_t* v, double* sums,
                            size_t s_stride) {
  blend_all(rows, positions, width, d, weights, stride, v, sums, s_stride);
}

}  // namespace bitnet
