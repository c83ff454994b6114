#include <string.h>

#include "kernels/attend_values_int8/attend_values_int8.h"
#include "kernels/x86_avx512vnni_attend.h"

namespace bitnet {

static inline __mmask32 first(size_t count) { return (1u << count) - 1; }

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
                         const int8_t* v, const double* scale, const int8_t* next, double* sums,
                         size_t s_stride) {
  const __mmask32 mask[2] = {count < 32 ? first(count) : ~0u, count < 32   ? 0
                                                              : count < 64 ? first(count - 32)
                                                                           : ~0u};
  __m512i acc[4 * R];
  UNROLL for (int i = 0; i < 4 * R; i++) acc[i] = _mm512_setzero_si512();
  for (size_t t = 0; t < positions; t += 2, v += 2 * d, next += 2 * d) {
    PREFETCH(v + kAttendAhead * d);
    PREFETCH(v + (kAttendAhead + 1) * d);
    PREFETCH_FAR(next);
    PREFETCH_FAR(next + d);
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
                       const double* scale, const int8_t* next, double* sums, size_t s_stride) {
  size_t i = 0;
  for (; i + 64 <= d; i += 64) {
    blend<R, true>(positions, d, 64, p, v + i, scale, next + i, sums + i, s_stride);
  }
  if (i < d) blend<R, false>(positions, d, d - i, p, v + i, scale, next + i, sums + i, s_stride);
}

}  // namespace bitnet

#define ISA(name) name##_avx512vnni
#include "kernels/attend_values_int8/by_rows.inc"
