#include "kernels/attend_softmax/attend_softmax.h"
#include "kernels/x86_avx512vnni_attend.h"

namespace bitnet {

static constexpr int kExps = 8;  // chains at a time: one alone would wait for each of its results

static inline void exponentials(__m512 x[kExps]) {
  __m512 sum[kExps];
  __m512i power[kExps];
  const __m512 magic = _mm512_set1_ps(kRoundMagic);
  const __m512i bias = _mm512_set1_epi32(static_cast<int>(127 - kRoundMagicBits));
  UNROLL for (int i = 0; i < kExps; i++) {
    x[i] = _mm512_max_ps(_mm512_set1_ps(kExpLeast), x[i]);  // the second operand, if that is NaN
    const __m512 shifted = _mm512_add_ps(_mm512_mul_ps(x[i], _mm512_set1_ps(kLog2E)), magic);
    const __m512 n = _mm512_sub_ps(shifted, magic);
    x[i] = _mm512_sub_ps(_mm512_sub_ps(x[i], _mm512_mul_ps(n, _mm512_set1_ps(kLn2High))),
                         _mm512_mul_ps(n, _mm512_set1_ps(kLn2Low)));
    power[i] = _mm512_slli_epi32(_mm512_add_epi32(_mm512_castps_si512(shifted), bias), 23);
    sum[i] = _mm512_set1_ps(kExpTerms[0]);
  }
  ROLLED for (int term = 1; term < 8; term++) {
    UNROLL for (int i = 0; i < kExps; i++) {
      sum[i] = _mm512_add_ps(_mm512_mul_ps(sum[i], x[i]), _mm512_set1_ps(kExpTerms[term]));
    }
  }
  UNROLL for (int i = 0; i < kExps; i++) {
    x[i] = _mm512_mul_ps(sum[i], _mm512_castsi512_ps(power[i]));
  }
}

// The mask of 16 elements from `at` on.
static inline __mmask16 mask_of(size_t count, size_t at) {
  if (at >= count) return 0;
  return static_cast<__mmask16>(count - at < 16 ? (1u << (count - at)) - 1 : 0xffff);
}

double attend_softmax_avx512vnni(size_t positions, const float* scores, double* weights) {
  __m512 most = _mm512_set1_ps(scores[0]);
  for (size_t t = 0; t < positions; t += 16) {
    most = _mm512_max_ps(most, _mm512_mask_loadu_ps(most, mask_of(positions, t), scores + t));
  }
  const __m512 peak = _mm512_set1_ps(_mm512_reduce_max_ps(most));
  __m512d low = _mm512_setzero_pd(), high = low;
  for (size_t t = 0; t < positions; t += 16 * kExps) {
    __m512 e[kExps];
    UNROLL for (size_t i = 0; i < kExps; i++) {
      const size_t at = t + 16 * i;
      e[i] = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask_of(positions, at), scores + at), peak);
    }
    exponentials(e);
    UNROLL for (size_t i = 0; i < kExps; i++) {
      const size_t at = t + 16 * i;
      const __mmask16 mask = mask_of(positions, at);
      e[i] = _mm512_maskz_mov_ps(mask, e[i]);
      const __m512d e_low = _mm512_cvtps_pd(_mm512_castps512_ps256(e[i]));
      const __m512d e_high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(e[i], 1));
      _mm512_mask_storeu_pd(weights + at, static_cast<__mmask8>(mask), e_low);
      _mm512_mask_storeu_pd(weights + at + 8, static_cast<__mmask8>(mask >> 8), e_high);
      low = _mm512_add_pd(low, e_low);
      high = _mm512_add_pd(high, e_high);
    }
  }
  const __m512d lanes = _mm512_add_pd(low, high);
  return _mm256_cvtsd_f64(fold(lanes, lanes, lanes, lanes));
}

}  // namespace bitnet
