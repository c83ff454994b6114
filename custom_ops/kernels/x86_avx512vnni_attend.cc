#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;  // bytes that a stream of keys is prefetched ahead

static inline void prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}

static inline __mmask8 first(size_t count) { return static_cast<__mmask8>((1u << count) - 1); }

static inline __m512d load(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }

static inline __m512d load(const float* p, __mmask8 mask) {
  return _mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask, p));
}

static inline __m512d load(const uint16_t* p) {
  return _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

static inline __m512d load(const uint16_t* p, __mmask8 mask) {
  return _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_maskz_loadu_epi16(mask, p)));
}

// The sums of the lanes of four vectors: lane l takes in l+4, l+2, l+1.
static inline __m256d fold(__m512d a, __m512d b, __m512d c, __m512d d) {
  const __m512d v[4] = {a, b, c, d};
  __m256d x[4];
  UNROLL for (int i = 0; i < 4; i++) {
    x[i] = _mm256_add_pd(_mm512_castpd512_pd256(v[i]), _mm512_extractf64x4_pd(v[i], 1));
  }
  __m256d y[2];
  UNROLL for (int i = 0; i < 2; i++) {
    y[i] = _mm256_add_pd(_mm256_permute2f128_pd(x[2 * i], x[2 * i + 1], 0x20),
                         _mm256_permute2f128_pd(x[2 * i], x[2 * i + 1], 0x31));
  }
  return _mm256_permute4x64_pd(_mm256_hadd_pd(y[0], y[1]), 0xd8);
}

// The same of eight vectors.
static inline __m512d fold(const __m512d* v) {
  __m512d x[4], y[2];
  UNROLL for (int i = 0; i < 4; i++) {
    const __m512d a = v[i / 2 * 4 + i % 2], b = v[i / 2 * 4 + i % 2 + 2];
    x[i] = _mm512_add_pd(_mm512_shuffle_f64x2(a, b, 0x44), _mm512_shuffle_f64x2(a, b, 0xee));
  }
  UNROLL for (int i = 0; i < 2; i++) {
    y[i] = _mm512_add_pd(_mm512_shuffle_f64x2(x[i], x[i + 2], 0x88),
                         _mm512_shuffle_f64x2(x[i], x[i + 2], 0xdd));
  }
  return _mm512_add_pd(_mm512_unpacklo_pd(y[0], y[1]), _mm512_unpackhi_pd(y[0], y[1]));
}

// R heads by T positions, T 4 or 1.
template <int R, int T, typename Cache>
static inline void score(size_t d, const double* q, const Cache* k, float root, float* scores,
                         size_t stride) {
  const size_t padded = (d + kPadHead - 1) / kPadHead * kPadHead;
  __m512d acc[4][4];
  UNROLL for (int i = 0; i < 16; i++) acc[i / 4][i % 4] = _mm512_setzero_pd();
  size_t i = 0;
  for (; i + 8 <= d; i += 8) {
    __m512d key[T];
    UNROLL for (int t = 0; t < T; t++) {
      prefetch(k + t * d + i + kAhead / sizeof(Cache));
      key[t] = load(k + t * d + i);
    }
    UNROLL for (int r = 0; r < R; r++) {
      const __m512d x = _mm512_loadu_pd(q + r * padded + i);
      UNROLL for (int t = 0; t < T; t++) acc[r][t] = _mm512_fmadd_pd(x, key[t], acc[r][t]);
    }
  }
  if (i < d) {
    UNROLL for (int t = 0; t < T; t++) {
      const __m512d key = load(k + t * d + i, first(d - i));
      UNROLL for (int r = 0; r < R; r++) {
        acc[r][t] = _mm512_fmadd_pd(_mm512_loadu_pd(q + r * padded + i), key, acc[r][t]);
      }
    }
  }
  UNROLL for (int r = 0; r < R; r += 2) {
    const __m256 sums = _mm512_cvtpd_ps(fold(acc[r]));
    const __m256 scaled = _mm256_div_ps(sums, _mm256_set1_ps(root));
    const __m128 low = _mm256_castps256_ps128(scaled), high = _mm256_extractf128_ps(scaled, 1);
    if (T == 4) {
      _mm_storeu_ps(scores + r * stride, low);
      if (r + 1 < R) _mm_storeu_ps(scores + (r + 1) * stride, high);
    } else {
      _mm_store_ss(scores + r * stride, low);
      if (r + 1 < R) _mm_store_ss(scores + (r + 1) * stride, high);
    }
  }
}

template <int R, typename Cache>
static void score_rows(size_t positions, size_t d, const double* q, const Cache* k, float root,
                       float* scores, size_t stride) {
  size_t t = 0;
  for (; t + 4 <= positions; t += 4) score<R, 4>(d, q, k + t * d, root, scores + t, stride);
  for (; t < positions; t++) score<R, 1>(d, q, k + t * d, root, scores + t, stride);
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

void attend_scores_avx512vnni(size_t rows, size_t positions, size_t d, const double* q,
                              const float* k, float root, float* scores, size_t stride) {
  score_all(rows, positions, d, q, k, root, scores, stride);
}

void attend_scores_f16_avx512vnni(size_t rows, size_t positions, size_t d, const double* q,
                                  const uint16_t* k, float root, float* scores, size_t stride) {
  score_all(rows, positions, d, q, k, root, scores, stride);
}

static constexpr int kExps = 8;  // chains at a time: one alone would wait for each of its results

static inline void exponentials(__m512 x[kExps]) {
  __m512 sum[kExps];
  __m512i power[kExps];
  const __m512 magic = _mm512_set1_ps(kRoundMagic);
  const __m512i bias = _mm512_set1_epi32(static_cast<int>(127 - kRoundMagicBits));
  UNROLL for (int i = 0; i < kExps; i++) {
    x[i] = _mm512_max_ps(_mm512_set1_ps(kExpLeast), x[i]);  // the second operand where it is NaN
    const __m512 shifted = _mm512_add_ps(_mm512_mul_ps(x[i], _mm512_set1_ps(kLog2E)), magic);
    const __m512 n = _mm512_sub_ps(shifted, magic);
    x[i] = _mm512_sub_ps(_mm512_sub_ps(x[i], _mm512_mul_ps(n, _mm512_set1_ps(kLn2High))),
                         _mm512_mul_ps(n, _mm512_set1_ps(kLn2Low)));
    power[i] = _mm512_slli_epi32(_mm512_add_epi32(_mm512_castps_si512(shifted), bias), 23);
    sum[i] = _mm512_set1_ps(kExpTerms[0]);
  }
  ROLLED for (int term = 1; term < 8; term++) {
    UNROLL for (int i = 0; i < kExps; i++) {
      sum[i] = _mm512_add_ps(_mm512_mul_ps(sum[i], x[i]), _mm512_set1_ps(kExpTerms[term]));
    }
  }
  UNROLL for (int i = 0; i < kExps; i++) {
    x[i] = _mm512_mul_ps(sum[i], _mm512_castsi512_ps(power[i]));
  }
}

// Of 16 elements from `at` on.
static inline __mmask16 mask_of(size_t count, size_t at) {
  if (at >= count) return 0;
  return static_cast<__mmask16>(count - at < 16 ? (1u << (count - at)) - 1 : 0xffff);
}

double attend_softmax_avx512vnni(size_t positions, const float* scores, double* weights) {
  __m512 most = _mm512_set1_ps(scores[0]);
  for (size_t t = 0; t < positions; t += 16) {
    most = _mm512_max_ps(most, _mm512_mask_loadu_ps(most, mask_of(positions, t), scores + t));
  }
  const __m512 peak = _mm512_set1_ps(_mm512_reduce_max_ps(most));
  __m512d low = _mm512_setzero_pd(), high = low;
  for (size_t t = 0; t < positions; t += 16 * kExps) {
    __m512 e[kExps];
    UNROLL for (size_t i = 0; i < kExps; i++) {
      const size_t at = t + 16 * i;
      e[i] = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask_of(positions, at), scores + at), peak);
    }
    exponentials(e);
    UNROLL for (size_t i = 0; i < kExps; i++) {
      const size_t at = t + 16 * i;
      const __mmask16 mask = mask_of(positions, at);
      e[i] = _mm512_maskz_mov_ps(mask, e[i]);
      const __m512d e_low = _mm512_cvtps_pd(_mm512_castps512_ps256(e[i]));
      const __m512d e_high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(e[i], 1));
      _mm512_mask_storeu_pd(weights + at, static_cast<__mmask8>(mask), e_low);
      _mm512_mask_storeu_pd(weights + at + 8, static_cast<__mmask8>(mask >> 8), e_high);
      low = _mm512_add_pd(low, e_low);
      high = _mm512_add_pd(high, e_high);
    }
  }
  const __m512d lanes = _mm512_add_pd(low, high);
  return _mm256_cvtsd_f64(fold(lanes, lanes, lanes, lanes));
}

// Where the values of later positions are, line after line in the order of memory. A loop works on
// a copy, which lives in registers.
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

// sums += weights x R heads by 32 elements.
template <int R, typename Cache>
static inline void blend(size_t positions, size_t d, const double* weights, size_t stride,
                         const Cache* v, Ahead<Cache>* all_ahead, double* sums, size_t s_stride) {
  Ahead<Cache> ahead = *all_ahead;
  __m512d acc[R][4];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < 4; j++) acc[r][j] = _mm512_loadu_pd(sums + r * s_stride + 8 * j);
  }
  for (size_t t = 0; t < positions; t++, v += d) {
    ahead.next();
    ahead.next();
    __m512d value[4];
    UNROLL for (int j = 0; j < 4; j++) value[j] = load(v + 8 * j);
    UNROLL for (int r = 0; r < R; r++) {
      const __m512d weight = _mm512_set1_pd(weights[r * stride + t]);
      UNROLL for (int j = 0; j < 4; j++) acc[r][j] = _mm512_fmadd_pd(weight, value[j], acc[r][j]);
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < 4; j++) _mm512_storeu_pd(sums + r * s_stride + 8 * j, acc[r][j]);
  }
  *all_ahead = ahead;
}

// The same for the elements of the mask.
template <int R, typename Cache>
static inline void blend_few(size_t positions, size_t d, const double* weights, size_t stride,
                             const Cache* v, __mmask8 mask, double* sums, size_t s_stride) {
  __m512d acc[R];
  UNROLL for (int r = 0; r < R; r++) acc[r] = _mm512_loadu_pd(sums + r * s_stride);
  for (size_t t = 0; t < positions; t++, v += d) {
    const __m512d value = load(v, mask);
    UNROLL for (int r = 0; r < R; r++) {
      acc[r] = _mm512_fmadd_pd(_mm512_set1_pd(weights[r * stride + t]), value, acc[r]);
    }
  }
  UNROLL for (int r = 0; r < R; r++) _mm512_storeu_pd(sums + r * s_stride, acc[r]);
}

template <int R, typename Cache>
static void blend_rows(size_t positions, size_t width, size_t d, const double* weights,
                       size_t stride, const Cache* v, double* sums, size_t s_stride) {
  Ahead<Cache> ahead = {v + kAttendAhead * d, 0, width, d};
  size_t i = 0;
  for (; i + 32 <= width; i += 32) {
    blend<R>(positions, d, weights, stride, v + i, &ahead, sums + i, s_stride);
  }
  for (; i < width; i += 8) {
    const __mmask8 mask = width - i < 8 ? first(width - i) : static_cast<__mmask8>(0xff);
    blend_few<R>(positions, d, weights, stride, v + i, mask, sums + i, s_stride);
  }
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

void attend_values_avx512vnni(size_t rows, size_t positions, size_t width, size_t d,
                              const double* weights, size_t stride, const float* v, double* sums,
                              size_t s_stride) {
  blend_all(rows, positions, width, d, weights, stride, v, sums, s_stride);
}

void attend_values_f16_avx512vnni(size_t rows, size_t positions, size_t width, size_t d,
                                  const double* weights, size_t stride, const uint16_t* v,
                                  double* sums, size_t s_stride) {
  blend_all(rows, positions, width, d, weights, stride, v, sums, s_stride);
}

}  // namespace bitnet
