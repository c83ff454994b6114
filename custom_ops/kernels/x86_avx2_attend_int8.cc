#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernel.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;  // bytes that a stream of keys is prefetched ahead

static inline void prefetch(const int8_t* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
}

// 16 elements as 16 bits, or `count` of them and zeros.
static inline __m256i load(const int8_t* p, size_t count) {
  int8_t rest[16] = {0};
  if (count < 16) p = static_cast<const int8_t*>(memcpy(rest, p, count));
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// The sums of the lanes of four vectors.
static inline __m128i fold(__m256i a, __m256i b, __m256i c, __m256i d) {
  const __m256i four = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
  return _mm_add_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
}

// R heads by one position.
template <int R>
static inline void add_key(__m256i acc[4], const int16_t* q, size_t padded, __m256i key) {
  UNROLL for (int r = 0; r < R; r++) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q + r * padded));
    acc[r] = _mm256_add_epi32(acc[r], _mm256_madd_epi16(key, x));
  }
}

template <int R>
static void score(size_t positions, size_t d, const int16_t* q, const int8_t* k,
                  const float* k_scale, const float* factor, const int8_t* next, float* scores,
                  size_t stride) {
  const size_t padded = (d + kPadInt8 - 1) / kPadInt8 * kPadInt8;
  float factors[4] = {0};
  for (int r = 0; r < R; r++) factors[r] = factor[r];
  for (size_t t = 0; t < positions; t++, k += d, next += d) {
    __m256i acc[4];
    UNROLL for (int r = 0; r < 4; r++) acc[r] = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 16 <= d; i += 16) {
      if (i % 64 == 0) {
        prefetch(k + i + kAhead);
        prefetch(next + i);
      }
      add_key<R>(acc, q + i, padded, load(k + i, 16));
    }
    if (i < d) add_key<R>(acc, q + i, padded, load(k + i, d - i));
    const __m128 sums = _mm_cvtepi32_ps(fold(acc[0], acc[1], acc[2], acc[3]));
    float y[4];
    _mm_storeu_ps(y, _mm_mul_ps(_mm_mul_ps(sums, _mm_set1_ps(k_scale[t])), _mm_loadu_ps(factors)));
    UNROLL for (int r = 0; r < R; r++) scores[r * stride + t] = y[r];
  }
}

void attend_scores_int8_avx2(size_t rows, size_t positions, size_t d, const int16_t* q,
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

// The first `count` of 8 lanes; all of them where count is larger.
static inline __m256i lanes(size_t count) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count < 8 ? static_cast<int>(count) : 8), index);
}

void attend_weights_int8_avx2(size_t rows, size_t positions, const double* weights, size_t stride,
                              const float* v_scale, int16_t* p, double* scale) {
  const __m256i size = _mm256_set1_epi32(0x7fffffff);
  for (size_t r = 0; r < rows; r++, p += kAttendSpan, weights += stride) {
    __m256 x[8];
    __m256i most = _mm256_castps_si256(_mm256_set1_ps(kLeastPeak));
    UNROLL for (size_t i = 0; i < 8; i++) {
      const size_t t = 8 * i;
      const __m256i mask = lanes(positions > t ? positions - t : 0);
      const __m256i low_mask = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(mask));
      const __m256i high_mask = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(mask, 1));
      const __m128 low = _mm256_cvtpd_ps(_mm256_maskload_pd(weights + t, low_mask));
      const __m128 high = _mm256_cvtpd_ps(_mm256_maskload_pd(weights + t + 4, high_mask));
      x[i] = _mm256_mul_ps(_mm256_set_m128(high, low), _mm256_maskload_ps(v_scale + t, mask));
      // Positive floats order as their bits do, and NaN and infinity come above all others.
      most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(x[i]), size));
    }
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1));
    const float peak = _mm_cvtss_f32(_mm_castsi128_ps(four));
    const float s = kPeakInt16 / peak, poison = peak * 0;  // 0, or NaN where an x is not finite
    const __m256i finite = _mm256_set1_epi32(poison == 0 ? -1 : 0);
    UNROLL for (size_t i = 0; i < 8; i += 2) {
      const __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(x[i], _mm256_set1_ps(s)));
      const __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(x[i + 1], _mm256_set1_ps(s)));
      const __m256i codes = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8 * i), _mm256_and_si256(codes, finite));
    }
    scale[r] = static_cast<double>(1.0f / s + poison);
  }
}

// acc += the products of two positions a and b, as pairs, with the R heads' weights at p.
template <int R>
static inline void add_pair(__m256i acc[R][2], __m256i a, __m256i b, const int16_t* p) {
  const __m256i low = _mm256_unpacklo_epi16(a, b), high = _mm256_unpackhi_epi16(a, b);
  UNROLL for (int r = 0; r < R; r++) {
    int32_t pair;
    memcpy(&pair, p + r * kAttendSpan, sizeof pair);
    const __m256i weights = _mm256_set1_epi32(pair);
    acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(low, weights));
    acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(high, weights));
  }
}

// R heads by `count` elements, at most 16.
template <int R>
static inline void blend(size_t positions, size_t d, size_t count, const int16_t* p,
                         const int8_t* v, const double* scale, double* sums, size_t s_stride) {
  __m256i acc[R][2];
  UNROLL for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = _mm256_setzero_si256();
  size_t t = 0;
  for (; t + 2 <= positions; t += 2, v += 2 * d) {
    prefetch(v + kAttendAhead * d);
    prefetch(v + (kAttendAhead + 1) * d);
    add_pair<R>(acc, load(v, count), load(v + d, count), p + t);
  }
  if (t < positions) add_pair<R>(acc, load(v, count), _mm256_setzero_si256(), p + t);
  UNROLL for (int r = 0; r < R; r++) {
    // Each half of low and high holds 4 elements in a row; low comes first.
    const __m256i half[2] = {_mm256_permute2x128_si256(acc[r][0], acc[r][1], 0x20),
                             _mm256_permute2x128_si256(acc[r][0], acc[r][1], 0x31)};
    const __m256d factor = _mm256_set1_pd(scale[r]);
    UNROLL for (size_t i = 0; i < 16; i += 4) {
      if (i / 8 * 8 >= count) break;
      const __m128i four =
          i % 8 ? _mm256_extracti128_si256(half[i / 8], 1) : _mm256_castsi256_si128(half[i / 8]);
      double* to = sums + r * s_stride + i;
      const __m256d sum = _mm256_cvtepi32_pd(four);
      _mm256_storeu_pd(to, _mm256_fmadd_pd(sum, factor, _mm256_loadu_pd(to)));
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

void attend_values_int8_avx2(size_t rows, size_t positions, size_t d, const int16_t* p,
                             const int8_t* v, const double* scale, double* sums, size_t s_stride) {
  if (rows == 4) return blend_rows<4>(positions, d, p, v, scale, sums, s_stride);
  if (rows >= 2) blend_rows<2>(positions, d, p, v, scale, sums, s_stride);
  if (rows % 2 == 0) return;
  const size_t last = rows - 1;
  blend_rows<1>(positions, d, p + last * kAttendSpan, v, scale + last, sums + last * s_stride,
                s_stride);
}

}  // namespace bitnet
