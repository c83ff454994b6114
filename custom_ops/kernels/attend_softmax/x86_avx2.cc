#include "kernels/attend_softmax/attend_softmax.h"
#include "kernels/x86_avx2_attend.h"

namespace bitnet {

static inline __m256 exponential(__m256 x) {
  x = _mm256_max_ps(_mm256_set1_ps(kExpLeast), x);  // the second operand, if that is NaN
  const __m256 magic = _mm256_set1_ps(kRoundMagic);
  const __m256 shifted = _mm256_add_ps(_mm256_mul_ps(x, _mm256_set1_ps(kLog2E)), magic);
  const __m256 n = _mm256_sub_ps(shifted, magic);
  const __m256 r = _mm256_sub_ps(_mm256_sub_ps(x, _mm256_mul_ps(n, _mm256_set1_ps(kLn2High))),
                                 _mm256_mul_ps(n, _mm256_set1_ps(kLn2Low)));
  __m256 sum = _mm256_set1_ps(kExpTerms[0]);
  UNROLL for (int i = 1; i < 8; i++) {
    sum = _mm256_add_ps(_mm256_mul_ps(sum, r), _mm256_set1_ps(kExpTerms[i]));
  }
  const __m256i bias = _mm256_set1_epi32(static_cast<int>(127 - kRoundMagicBits));
  const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(shifted), bias), 23);
  return _mm256_mul_ps(sum, _mm256_castsi256_ps(power));
}

double attend_softmax_avx2(size_t positions, const float* scores, double* weights) {
  __m256 most = _mm256_set1_ps(scores[0]);
  for (size_t t = 0; t < positions; t += 8) {
    const __m256i mask = lanes(positions - t);
    const __m256 x = _mm256_maskload_ps(scores + t, mask);
    most = _mm256_max_ps(most, _mm256_blendv_ps(most, x, _mm256_castsi256_ps(mask)));
  }
  most = _mm256_max_ps(most, _mm256_permute2f128_ps(most, most, 1));
  most = _mm256_max_ps(most, _mm256_permute_ps(most, 0x4e));
  const __m256 peak = _mm256_max_ps(most, _mm256_permute_ps(most, 0xb1));
  __m256d sums[4];  // lanes 0 to 3, 4 to 7, 8 to 11, 12 to 15
  UNROLL for (int i = 0; i < 4; i++) sums[i] = _mm256_setzero_pd();
  for (size_t t = 0; t < positions; t += 16) {
    UNROLL for (size_t half = 0; half < 2; half++) {
      const size_t at = t + 8 * half;
      if (at >= positions) break;
      const __m256i mask = lanes(positions - at);
      const __m256 x = _mm256_sub_ps(_mm256_maskload_ps(scores + at, mask), peak);
      const __m256 e = _mm256_and_ps(exponential(x), _mm256_castsi256_ps(mask));
      const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(e));
      const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(e, 1));
      const __m128i low_mask = _mm256_castsi256_si128(mask);
      _mm256_maskstore_pd(weights + at, _mm256_cvtepi32_epi64(low_mask), low);
      const __m128i high_mask = _mm256_extracti128_si256(mask, 1);
      _mm256_maskstore_pd(weights + at + 4, _mm256_cvtepi32_epi64(high_mask), high);
      sums[2 * half] = _mm256_add_pd(sums[2 * half], low);
      sums[2 * half + 1] = _mm256_add_pd(sums[2 * half + 1], high);
    }
  }
  const __m256d four =
      _mm256_add_pd(_mm256_add_pd(sums[0], sums[2]), _mm256_add_pd(sums[1], sums[3]));
  return _mm256_cvtsd_f64(fold(four, four, four, four));
}

}  // namespace bitnet
