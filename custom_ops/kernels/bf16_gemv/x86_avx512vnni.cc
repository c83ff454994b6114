#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/bf16_gemv/ahead.h"
#include "kernels/bf16_gemv/bf16_gemv.h"

#define ISA(name) name##_avx512vnni

namespace bitnet {

static constexpr size_t kAhead = 20480;  // bytes
static constexpr int kWide = 4;

// bfloat16 pairs are 32-bit words: the even one is the low half, the odd one the high half.
template <int R, int M>
static inline void bf16_step(__m512d (*even)[R], __m512d (*odd)[R], const double* const* x,
                             size_t i, const __m256i w[R]) {
  const __m256i top = _mm256_set1_epi32(static_cast<int>(0xffff0000));
  __m512d wide[R];
  UNROLL for (int r = 0; r < R; r++) {
    wide[r] = _mm512_cvtps_pd(_mm256_castsi256_ps(_mm256_slli_epi32(w[r], 16)));
  }
  UNROLL for (int m = 0; m < M; m++) {
    const __m512d v = _mm512_loadu_pd(x[m] + i);
    UNROLL for (int r = 0; r < R; r++) even[m][r] = _mm512_fmadd_pd(v, wide[r], even[m][r]);
  }
  UNROLL for (int r = 0; r < R; r++) {
    wide[r] = _mm512_cvtps_pd(_mm256_castsi256_ps(_mm256_and_si256(w[r], top)));
  }
  UNROLL for (int m = 0; m < M; m++) {
    const __m512d v = _mm512_loadu_pd(x[m] + i + 8);
    UNROLL for (int r = 0; r < R; r++) odd[m][r] = _mm512_fmadd_pd(v, wide[r], odd[m][r]);
  }
}

// Lanes 0, 2, ... 14 and 1, 3, ... 15: fold +8, +4, +2 inside each, then +1 across.
static inline float fold(__m512d even, __m512d odd) {
  const __m256d e = _mm256_add_pd(_mm512_castpd512_pd256(even), _mm512_extractf64x4_pd(even, 1));
  const __m256d o = _mm256_add_pd(_mm512_castpd512_pd256(odd), _mm512_extractf64x4_pd(odd, 1));
  const __m128d e2 = _mm_add_pd(_mm256_castpd256_pd128(e), _mm256_extractf128_pd(e, 1));
  const __m128d o2 = _mm_add_pd(_mm256_castpd256_pd128(o), _mm256_extractf128_pd(o, 1));
  const __m128d pair = _mm_add_pd(_mm_unpacklo_pd(e2, o2), _mm_unpackhi_pd(e2, o2));
  return static_cast<float>(_mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair))));
}

template <int R, int M>
static void bf16_rows(size_t k, const double* const* x, const uint8_t* w, const uint8_t* next,
                      float* const* y, size_t n) {
  __m512d even[M][R], odd[M][R];
  UNROLL for (int m = 0; m < M; m++) {
    UNROLL for (int r = 0; r < R; r++) even[m][r] = odd[m][r] = _mm512_setzero_pd();
  }
  __m256i packed[R];
  size_t i = 0;
  for (; i + 16 <= k; i += 16) {
    UNROLL for (int r = 0; r < R; r++) {
      const uint8_t* p = w + 2 * (r * k + i);
      packed[r] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
      if ((i & 16) == 0) fetch<R>(next + (p - w));
    }
    bf16_step<R, M>(even, odd, x, i, packed);
  }
  if (i < k) {
    const __mmask16 rest = static_cast<__mmask16>((1u << (k - i)) - 1);
    UNROLL for (int r = 0; r < R; r++) packed[r] =
        _mm256_maskz_loadu_epi16(rest, w + 2 * (r * k + i));
    bf16_step<R, M>(even, odd, x, i, packed);
  }
  UNROLL for (int m = 0; m < M; m++) {
    UNROLL for (int r = 0; r < R; r++) y[m][n + r] = fold(even[m][r], odd[m][r]);
  }
}

}  // namespace bitnet

#include "kernels/bf16_gemv/few.inc"
