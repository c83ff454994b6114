// Shared by the AVX2 files of attention alone.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/attend.h"

namespace bitnet {

// The first `count` of 4 or 8 lanes; all of them where count is larger.
static inline __m256i lanes(size_t count) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count < 8 ? static_cast<int>(count) : 8), index);
}

static inline __m256d load(const float* p, size_t count) {
  if (count >= 4) return _mm256_cvtps_pd(_mm_loadu_ps(p));
  return _mm256_cvtps_pd(_mm_maskload_ps(p, _mm256_castsi256_si128(lanes(count))));
}

static inline __m256d load(const uint16_t* p, size_t count) {
  uint64_t four = 0;
  memcpy(&four, p, count < 4 ? 2 * count : 8);
  return _mm256_cvtps_pd(_mm_cvtph_ps(_mm_cvtsi64_si128(static_cast<int64_t>(four))));
}

// 16 elements as 16 bits, or `count` of them and zeros.
static inline __m256i load(const int8_t* p, size_t count) {
  int8_t rest[16] = {0};
  if (count < 16) p = static_cast<const int8_t*>(memcpy(rest, p, count));
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// The sums of the lanes of four vectors: lane l takes in l+2, l+1.
static inline __m256d fold(__m256d a, __m256d b, __m256d c, __m256d d) {
  const __m256d ab =
      _mm256_add_pd(_mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31));
  const __m256d cd =
      _mm256_add_pd(_mm256_permute2f128_pd(c, d, 0x20), _mm256_permute2f128_pd(c, d, 0x31));
  return _mm256_permute4x64_pd(_mm256_hadd_pd(ab, cd), 0xd8);
}

}  // namespace bitnet
