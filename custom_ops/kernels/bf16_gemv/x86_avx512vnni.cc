#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/bf16_gemv/bf16_gemv.h"

namespace bitnet {

// Bytes ahead: the best of 512 to 16384 on Cascade Lake, by up to a third.
static constexpr size_t kAhead = 8192;

// bfloat16 pairs are 32-bit words: the even one is the low half, the odd one the high half.
template <int R>
static inline void bf16_step(__m512d even[R], __m512d odd[R], const double* x, const __m256i w[R]) {
  const __m512d x_even = _mm512_loadu_pd(x), x_odd = _mm512_loadu_pd(x + 8);
  const __m256i top = _mm256_set1_epi32(static_cast<int>(0xffff0000));
  UNROLL for (int r = 0; r < R; r++) {
    const __m256 w_even = _mm256_castsi256_ps(_mm256_slli_epi32(w[r], 16));
    const __m256 w_odd = _mm256_castsi256_ps(_mm256_and_si256(w[r], top));
    even[r] = _mm512_fmadd_pd(x_even, _mm512_cvtps_pd(w_even), even[r]);
    odd[r] = _mm512_fmadd_pd(x_odd, _mm512_cvtps_pd(w_odd), odd[r]);
  }
}

// A single row is the last one, or one of TwoStepMatMul: what follows is not read.
template <int R>
static void bf16_rows(size_t k, const double* x, const uint8_t* w, float* y) {
  __m512d even[R], odd[R];
  UNROLL for (int r = 0; r < R; r++) even[r] = odd[r] = _mm512_setzero_pd();
  __m256i packed[R];
  size_t i = 0;
  for (; i + 16 <= k; i += 16) {
    UNROLL for (int r = 0; r < R; r++) {
      const uint8_t* p = w + 2 * (r * k + i);
      packed[r] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
      if (R > 1 && (i & 16) == 0) PREFETCH(p + kAhead);
    }
    bf16_step<R>(even, odd, x + i, packed);
  }
  if (i < k) {
    const __mmask16 rest = static_cast<__mmask16>((1u << (k - i)) - 1);
    UNROLL for (int r = 0; r < R; r++) packed[r] =
        _mm256_maskz_loadu_epi16(rest, w + 2 * (r * k + i));
    bf16_step<R>(even, odd, x + i, packed);
  }
  UNROLL for (int r = 0; r < R; r++) {
    // Lanes 0, 2, ... 14 and 1, 3, ... 15: fold +8, +4, +2 inside each, then +1 across.
    __m256d e = _mm256_add_pd(_mm512_castpd512_pd256(even[r]), _mm512_extractf64x4_pd(even[r], 1));
    __m256d o = _mm256_add_pd(_mm512_castpd512_pd256(odd[r]), _mm512_extractf64x4_pd(odd[r], 1));
    const __m128d e2 = _mm_add_pd(_mm256_castpd256_pd128(e), _mm256_extractf128_pd(e, 1));
    const __m128d o2 = _mm_add_pd(_mm256_castpd256_pd128(o), _mm256_extractf128_pd(o, 1));
    const __m128d pair = _mm_add_pd(_mm_unpacklo_pd(e2, o2), _mm_unpackhi_pd(e2, o2));
    const double sum = _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
    y[r] = static_cast<float>(sum);
  }
}

void bf16_gemv_avx512vnni(size_t rows, size_t k, const double* x, const uint8_t* w, float* y) {
  size_t n = 0;
  for (; n + 2 <= rows; n += 2) bf16_rows<2>(k, x, w + 2 * n * k, y + n);
  for (; n < rows; n++) bf16_rows<1>(k, x, w + 2 * n * k, y + n);
}

}  // namespace bitnet
