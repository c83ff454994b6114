#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/bf16_gemv/ahead.h"
#include "kernels/bf16_gemv/bf16_gemv.h"

#define ISA(name) name##_avx2

namespace bitnet {

static constexpr size_t kAhead = 8192;
static constexpr int kWide = 1;

static inline __m128i load_half(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}

// Lanes 0 2 4 6, 8 10 12 14, 1 3 5 7, 9 11 13 15 from 16 weights: bfloat16 pairs are 32-bit words
// whose low half is the even weight.
template <int M>
static inline void bf16_step(__m256d (*acc)[4], const double* const* x, size_t i,
                             const uint8_t* w) {
  const __m128i top = _mm_set1_epi32(static_cast<int>(0xffff0000));
  UNROLL for (int half = 0; half < 2; half++) {
    const __m128i pairs = load_half(w + 16 * half);
    const __m256d even = _mm256_cvtps_pd(_mm_castsi128_ps(_mm_slli_epi32(pairs, 16)));
    const __m256d odd = _mm256_cvtps_pd(_mm_castsi128_ps(_mm_and_si128(pairs, top)));
    UNROLL for (int m = 0; m < M; m++) {
      const double* v = x[m] + i + 4 * half;
      acc[m][half] = _mm256_fmadd_pd(_mm256_loadu_pd(v), even, acc[m][half]);
      acc[m][2 + half] = _mm256_fmadd_pd(_mm256_loadu_pd(v + 8), odd, acc[m][2 + half]);
    }
  }
}

static inline float fold(const __m256d a[4]) {
  const __m256d e = _mm256_add_pd(a[0], a[1]), o = _mm256_add_pd(a[2], a[3]);
  const __m128d e2 = _mm_add_pd(_mm256_castpd256_pd128(e), _mm256_extractf128_pd(e, 1));
  const __m128d o2 = _mm_add_pd(_mm256_castpd256_pd128(o), _mm256_extractf128_pd(o, 1));
  const __m128d pair = _mm_add_pd(_mm_unpacklo_pd(e2, o2), _mm_unpackhi_pd(e2, o2));
  return static_cast<float>(_mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair))));
}

template <int R, int M>
static void bf16_rows(size_t k, const double* const* x, const uint8_t* w, const uint8_t* next,
                      float* const* y, size_t n) {
  __m256d acc[R][M][4];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int m = 0; m < M; m++) {
      UNROLL for (int j = 0; j < 4; j++) acc[r][m][j] = _mm256_setzero_pd();
    }
  }
  size_t i = 0;
  for (; i + 16 <= k; i += 16) {
    UNROLL for (int r = 0; r < R; r++) {
      const uint8_t* p = w + 2 * (r * k + i);
      if ((i & 16) == 0) fetch<R>(next + (p - w));
      bf16_step<M>(acc[r], x, i, p);
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    if (i < k) {
      uint8_t rest[32] = {0};
      for (size_t b = 0; b < 2 * (k - i); b++) rest[b] = w[2 * (r * k + i) + b];
      bf16_step<M>(acc[r], x, i, rest);
    }
    UNROLL for (int m = 0; m < M; m++) y[m][n + r] = fold(acc[r][m]);
  }
}

}  // namespace bitnet

#include "kernels/bf16_gemv/few.inc"
