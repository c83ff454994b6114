// Shared by the AVX-512 VNNI files of attention alone.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/attend.h"

namespace bitnet {

static inline __m512d load(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }

static inline __m512d load(const float* p, __mmask8 mask) {
  return _mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask, p));
}

static inline __m512d load(const uint16_t* p) {
  return _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

static inline __m512d load(const uint16_t* p, __mmask8 mask) {
  return _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_maskz_loadu_epi16(mask, p)));
}

// 32 elements, or those of the mask, as 16 bits.
static inline __m512i load(const int8_t* p) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

static inline __m512i load(const int8_t* p, __mmask32 mask) {
  return _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(mask, p));
}

// The sums of the lanes of four vectors: lane l takes in l+4, l+2, l+1.
static inline __m256d fold(__m512d a, __m512d b, __m512d c, __m512d d) {
  const __m512d v[4] = {a, b, c, d};
  __m256d x[4];
  UNROLL for (int i = 0; i < 4; i++) {
    x[i] = _mm256_add_pd(_mm512_castpd512_pd256(v[i]), _mm512_extractf64x4_pd(v[i], 1));
  }
  __m256d y[2];
  UNROLL for (int i = 0; i < 2; i++) {
    y[i] = _mm256_add_pd(_mm256_permute2f128_pd(x[2 * i], x[2 * i + 1], 0x20),
                         _mm256_permute2f128_pd(x[2 * i], x[2 * i + 1], 0x31));
  }
  return _mm256_permute4x64_pd(_mm256_hadd_pd(y[0], y[1]), 0xd8);
}

}  // namespace bitnet
