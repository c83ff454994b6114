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

// 32 elements, or those of the mask, as 16 bits.
static inline __m512i load(const int8_t* p) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

static inline __m512i load(const int8_t* p, __mmask32 mask) {
  return _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(mask, p));
}

static inline __mmask32 first(size_t count) { return (1u << count) - 1; }

// Each quarter: sums of its 4 lanes, of each of four vectors.
static inline __m512i fold(const __m512i* v) {
  __m512i x[2];
  UNROLL for (int i = 0; i < 2; i++) {
    x[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                            _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
  }
  return _mm512_add_epi32(_mm512_unpacklo_epi64(x[0], x[1]), _mm512_unpackhi_epi64(x[0], x[1]));
}

// Quarter r: the sums of the quarters of v[r].
static inline __m512i fold_quarters(const __m512i v[4]) {
  __m512i x[2];
  UNROLL for (int i = 0; i < 2; i++) {
    x[i] = _mm512_add_epi32(_mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0x44),
                            _mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0xee));
  }
  return _mm512_add_epi32(_mm512_shuffle_i32x4(x[0], x[1], 0x88),
                          _mm512_shuffle_i32x4(x[0], x[1], 0xdd));
}

// Adds 32 elements of 4 positions, keys as 16 bits, for R heads.
template <int R>
static inline void add_keys(__m512i acc[R][4], const __m512i key[4], const int16_t* q,
                            size_t padded) {
  UNROLL for (int r = 0; r < R; r++) {
    const __m512i x = _mm512_loadu_si512(q + r * padded);
    UNROLL for (int t = 0; t < 4; t++) acc[r][t] = _mm512_dpwssd_epi32(acc[r][t], key[t], x);
  }
}

// R heads by 4 positions: lane 4r + t.
template <int R>
static inline __m512i products(size_t d, const int16_t* q, size_t padded, const int8_t* const k[4],
                               const int8_t* next) {
  __m512i acc[R][4], key[4];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int t = 0; t < 4; t++) acc[r][t] = _mm512_setzero_si512();
  }
  size_t i = 0;
  for (; i + 64 <= d; i += 64) {
    UNROLL for (int t = 0; t < 4; t++) {
      prefetch(k[t] + i + kAhead);
      prefetch(next + static_cast<size_t>(t) * d + i);
    }
    UNROLL for (size_t half = 0; half < 64; half += 32) {
      UNROLL for (int t = 0; t < 4; t++) key[t] = load(k[t] + i + half);
      add_keys<R>(acc, key, q + i + half, padded);
    }
  }
  for (; i < d; i += 32) {
    const __mmask32 mask = d - i < 32 ? first(d - i) : ~0u;
    UNROLL for (int t = 0; t < 4; t++) key[t] = load(k[t] + i, mask);
    add_keys<R>(acc, key, q + i, padded);
  }
  __m512i sums[4];
  UNROLL for (int r = 0; r < 4; r++) sums[r] = r < R ? fold(acc[r]) : _mm512_setzero_si512();
  return fold_quarters(sums);
}

template <int R>
static void score(size_t positions, size_t d, const int16_t* q, const int8_t* k,
                  const float* k_scale, const float* factor, const int8_t* next, float* scores,
                  size_t stride) {
  const size_t padded = (d + kPadInt8 - 1) / kPadInt8 * kPadInt8;
  float factors[16];
  for (int lane = 0; lane < 16; lane++) factors[lane] = lane / 4 < R ? factor[lane / 4] : 0.0f;
  const __m512 by_head = _mm512_loadu_ps(factors);
  for (size_t t = 0; t < positions; t += 4) {
    const size_t left = positions - t < 4 ? positions - t : 4;
    const int8_t* rows[4];  // past the last position comes the last one again
    UNROLL for (size_t i = 0; i < 4; i++) rows[i] = k + (t + (i < left ? i : left - 1)) * d;
    const __mmask8 mask = static_cast<__mmask8>(first(left));
    const __m512 scale = _mm512_broadcast_f32x4(_mm_maskz_loadu_ps(mask, k_scale + t));
    const __m512 sums = _mm512_cvtepi32_ps(products<R>(d, q, padded, rows, next + t * d));
    const __m512 y = _mm512_mul_ps(_mm512_mul_ps(sums, scale), by_head);
    float by_row[16];  // GCC 12 would make masked stores ones that fault where the mask is off
    _mm512_storeu_ps(by_row, y);
    UNROLL for (size_t r = 0; r < R; r++) {
      if (left == 4)
        memcpy(scores + r * stride + t, by_row + 4 * r, 16);
      else
        for (size_t i = 0; i < left; i++) scores[r * stride + t + i] = by_row[4 * r + i];
    }
  }
}

void attend_scores_int8_avx512vnni(size_t rows, size_t positions, size_t d, const int16_t* q,
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

void attend_weights_int8_avx512vnni(size_t rows, size_t positions, const double* weights,
                                    size_t stride, const float* v_scale, int16_t* p,
                                    double* scale) {
  for (size_t r = 0; r < rows; r++, p += kAttendSpan, weights += stride) {
    __m512 x[4];
    __m512i most = _mm512_castps_si512(_mm512_set1_ps(kLeastPeak));
    UNROLL for (size_t i = 0; i < 4; i++) {
      const size_t t = 16 * i, left = positions > t ? positions - t : 0;
      const __mmask16 mask = static_cast<__mmask16>(left < 16 ? first(left) : 0xffff);
      const __m256 low =
          _mm512_cvtpd_ps(_mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), weights + t));
      const __m256 high =
          _mm512_cvtpd_ps(_mm512_maskz_loadu_pd(static_cast<__mmask8>(mask >> 8), weights + t + 8));
      const __m512 both = _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
      x[i] = _mm512_mul_ps(both, _mm512_maskz_loadu_ps(mask, v_scale + t));
      // Positive floats order as their bits do, and NaN and infinity come above all others.
      most = _mm512_max_epi32(most, _mm512_castps_si512(_mm512_abs_ps(x[i])));
    }
    const int32_t peak_bits = _mm512_reduce_max_epi32(most);
    float peak;
    memcpy(&peak, &peak_bits, sizeof peak);
    const float s = kPeakInt16 / peak, poison = peak * 0;  // 0, or NaN where an x is not finite
    const __mmask16 finite = static_cast<__mmask16>(poison == 0 ? 0xffff : 0);
    UNROLL for (size_t i = 0; i < 4; i++) {
      const __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(x[i], _mm512_set1_ps(s)));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 16 * i),
                          _mm512_maskz_cvtepi32_epi16(finite, code));
    }
    scale[r] = static_cast<double>(1.0f / s + poison);
  }
}

// acc += the products of 32 elements of two positions, as pairs, with the R heads' weights.
template <int R>
static inline void add_pair(__m512i* acc, __m512i a, __m512i b, const __m512i weights[R]) {
  const __m512i low = _mm512_unpacklo_epi16(a, b), high = _mm512_unpackhi_epi16(a, b);
  UNROLL for (int r = 0; r < R; r++) {
    acc[4 * r] = _mm512_dpwssd_epi32(acc[4 * r], low, weights[r]);
    acc[4 * r + 1] = _mm512_dpwssd_epi32(acc[4 * r + 1], high, weights[r]);
  }
}

// sums += acc * scale for `count` elements, at most 32. Each quarter of low and high holds 4
// elements in a row; low comes first.
static inline void add_sums(__m512i low, __m512i high, size_t count, double scale, double* sums) {
  const __m512i order[2] = {_mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                            _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15)};
  UNROLL for (size_t i = 0; i < 32; i += 8) {
    if (i >= count) break;
    const __m512i half = _mm512_permutex2var_epi64(low, order[i / 16], high);
    const __m256i eight =
        i % 16 ? _mm512_extracti64x4_epi64(half, 1) : _mm512_castsi512_si256(half);
    const __m512d sum = _mm512_cvtepi32_pd(eight);
    _mm512_storeu_pd(sums + i,
                     _mm512_fmadd_pd(sum, _mm512_set1_pd(scale), _mm512_loadu_pd(sums + i)));
  }
}

// R heads by 64 elements, or those of the masks, which are `count`.
template <int R, bool kWhole>
static inline void blend(size_t positions, size_t d, size_t count, const int16_t* p,
                         const int8_t* v, const double* scale, double* sums, size_t s_stride) {
  const __mmask32 mask[2] = {count < 32 ? first(count) : ~0u, count < 32   ? 0
                                                              : count < 64 ? first(count - 32)
                                                                           : ~0u};
  __m512i acc[4 * R];
  UNROLL for (int i = 0; i < 4 * R; i++) acc[i] = _mm512_setzero_si512();
  for (size_t t = 0; t < positions; t += 2, v += 2 * d) {
    prefetch(v + kAttendAhead * d);
    prefetch(v + (kAttendAhead + 1) * d);
    const bool second = t + 1 < positions;
    __m512i weights[R];
    UNROLL for (int r = 0; r < R; r++) {
      int32_t pair;
      memcpy(&pair, p + r * kAttendSpan + t, sizeof pair);
      weights[r] = _mm512_set1_epi32(pair);
    }
    UNROLL for (int h = 0; h < 2; h++) {
      const int8_t* x = v + 32 * h;
      const __m512i a = kWhole ? load(x) : load(x, mask[h]);
      const __m512i b = kWhole && second ? load(x + d) : load(x + d, second ? mask[h] : 0);
      add_pair<R>(acc + 2 * h, a, b, weights);
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    add_sums(acc[4 * r], acc[4 * r + 1], count, scale[r], sums + r * s_stride);
    if (count > 32)
      add_sums(acc[4 * r + 2], acc[4 * r + 3], count - 32, scale[r], sums + r * s_stride + 32);
  }
}

template <int R>
static void blend_rows(size_t positions, size_t d, const int16_t* p, const int8_t* v,
                       const double* scale, double* sums, size_t s_stride) {
  size_t i = 0;
  for (; i + 64 <= d; i += 64) {
    blend<R, true>(positions, d, 64, p, v + i, scale, sums + i, s_stride);
  }
  if (i < d) blend<R, false>(positions, d, d - i, p, v + i, scale, sums + i, s_stride);
}

void attend_values_int8_avx512vnni(size_t rows, size_t positions, size_t d, const int16_t* p,
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
