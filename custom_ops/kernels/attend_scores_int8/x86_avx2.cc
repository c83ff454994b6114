#include "kernels/attend_scores_int8/attend_scores_int8.h"
#include "kernels/x86_avx2_attend.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;  // bytes that a stream of keys is prefetched ahead

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
        PREFETCH(k + i + kAhead);
        PREFETCH(next + i);
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

}  // namespace bitnet

#define ISA(name) name##_avx2
#include "kernels/attend_scores_int8/by_rows.inc"
