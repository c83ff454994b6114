#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/attend_weights_int8/attend_weights_int8.h"

namespace bitnet {

static inline __mmask32 first(size_t count) { return (1u << count) - 1; }

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

}  // namespace bitnet
