#include "kernels/attend_weights_int8/attend_weights_int8.h"
#include "kernels/x86_avx2_attend.h"

namespace bitnet {

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

}  // namespace bitnet
