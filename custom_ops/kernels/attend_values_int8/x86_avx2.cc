#include "kernels/attend_values_int8/attend_values_int8.h"
#include "kernels/x86_avx2_attend.h"

namespace bitnet {

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
                         const int8_t* v, const double* scale, const int8_t* next, double* sums,
                         size_t s_stride) {
  __m256i acc[R][2];
  UNROLL for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = _mm256_setzero_si256();
  size_t t = 0;
  for (; t + 2 <= positions; t += 2, v += 2 * d, next += 2 * d) {
    PREFETCH(v + kAttendAhead * d);
    PREFETCH(v + (kAttendAhead + 1) * d);
    PREFETCH_FAR(next);
    PREFETCH_FAR(next + d);
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
                       const double* scale, const int8_t* next, double* sums, size_t s_stride) {
  size_t i = 0;
  for (; i + 16 <= d; i += 16)
    blend<R>(positions, d, 16, p, v + i, scale, next + i, sums + i, s_stride);
  if (i < d) blend<R>(positions, d, d - i, p, v + i, scale, next + i, sums + i, s_stride);
}

}  // namespace bitnet

#define ISA(name) name##_avx2
#include "kernels/attend_values_int8/by_rows.inc"
