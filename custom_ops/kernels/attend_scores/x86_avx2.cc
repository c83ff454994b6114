#include "kernels/attend_scores/attend_scores.h"
#include "kernels/x86_avx2_attend.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;  // bytes that a stream of keys is prefetched ahead

template <int R, typename Cache>
static void score_rows(size_t positions, size_t d, const double* q, const Cache* k, float root,
                       float* scores, size_t stride) {
  const size_t padded = (d + kPadHead - 1) / kPadHead * kPadHead;
  for (size_t t = 0; t < positions; t++, k += d) {
    __m256d low[4], high[4];
    UNROLL for (int r = 0; r < 4; r++) low[r] = high[r] = _mm256_setzero_pd();
    for (size_t i = 0; i < d; i += 8) {
      if (i % 16 == 0) PREFETCH(k + i + kAhead / sizeof(Cache));
      const __m256d first = load(k + i, d - i);
      const __m256d second = d - i > 4 ? load(k + i + 4, d - i - 4) : _mm256_setzero_pd();
      UNROLL for (int r = 0; r < R; r++) {
        const double* x = q + r * padded + i;
        low[r] = _mm256_fmadd_pd(_mm256_loadu_pd(x), first, low[r]);
        high[r] = _mm256_fmadd_pd(_mm256_loadu_pd(x + 4), second, high[r]);
      }
    }
    UNROLL for (int r = 0; r < R; r++) low[r] = _mm256_add_pd(low[r], high[r]);
    float sums[4];
    const __m128 four = _mm256_cvtpd_ps(fold(low[0], low[1], low[2], low[3]));
    _mm_storeu_ps(sums, _mm_div_ps(four, _mm_set1_ps(root)));
    UNROLL for (int r = 0; r < R; r++) scores[r * stride + t] = sums[r];
  }
}

}  // namespace bitnet

#define ISA(name) name##_avx2
#include "kernels/attend_scores/by_rows.inc"
