#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/int8_gemv/int8_gemv.h"

namespace bitnet {

static constexpr size_t kAhead = 8192;

static inline __m128i load_half(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}

// int8 weights widen to 16 bits; one step adds two products to each int32 lane.
static constexpr size_t kInt8Steps = 256;  // between two widenings to int64
static_assert(kInt8Steps * 2 * 32512 * 128 <= INT32_MAX, "int32 lanes");

static inline __m256i int8_step(__m256i acc, const int16_t* q, const uint8_t* w) {
  const __m256i wide = _mm256_cvtepi8_epi16(load_half(w));
  return _mm256_add_epi32(
      acc, _mm256_madd_epi16(wide, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q))));
}

static inline __m256i widen(__m256i sum, __m256i acc) {
  sum = _mm256_add_epi64(sum, _mm256_cvtepi32_epi64(_mm256_castsi256_si128(acc)));
  return _mm256_add_epi64(sum, _mm256_cvtepi32_epi64(_mm256_extracti128_si256(acc, 1)));
}

template <int R>
static void int8_rows(size_t k, const int16_t* q, const uint8_t* w, int64_t* sums) {
  __m256i wide[R];
  UNROLL for (int r = 0; r < R; r++) wide[r] = _mm256_setzero_si256();
  for (size_t begin = 0; begin < k; begin += 16 * kInt8Steps) {
    const size_t end = k - begin < 16 * kInt8Steps ? k : begin + 16 * kInt8Steps;
    __m256i acc[R];
    UNROLL for (int r = 0; r < R; r++) acc[r] = _mm256_setzero_si256();
    size_t i = begin;
    for (; i + 16 <= end; i += 16) {
      UNROLL for (int r = 0; r < R; r++) {
        if ((i & 48) == 0) PREFETCH(w + r * k + i + kAhead);
        acc[r] = int8_step(acc[r], q + i, w + r * k + i);
      }
    }
    UNROLL for (int r = 0; r < R; r++) {
      if (i < end) {
        uint8_t rest[16] = {0};
        for (size_t b = 0; b < end - i; b++) rest[b] = w[r * k + i + b];
        acc[r] = int8_step(acc[r], q + i, rest);
      }
      wide[r] = widen(wide[r], acc[r]);
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    int64_t words[4];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), wide[r]);
    sums[r] = words[0] + words[1] + words[2] + words[3];
  }
}

}  // namespace bitnet

#define ISA(name) name##_avx2
#include "kernels/int8_gemv/by_rows.inc"
