#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/int8_gemv/int8_gemv.h"

namespace bitnet {

// Bytes ahead: the best of 512 to 16384 on Cascade Lake, by up to a third.
static constexpr size_t kAhead = 8192;

// int8 weights widen to 16 bits; one step adds two products to each int32 lane.
static constexpr size_t kInt8Steps = 256;  // between two widenings to int64
static_assert(kInt8Steps * 2 * 32512 * 128 <= INT32_MAX, "int32 lanes");

template <int R>
static void int8_rows(size_t k, const int16_t* q, const uint8_t* w, int64_t* sums) {
  __m512i wide[R];
  UNROLL for (int r = 0; r < R; r++) wide[r] = _mm512_setzero_si512();
  for (size_t begin = 0; begin < k; begin += 32 * kInt8Steps) {
    const size_t end = k - begin < 32 * kInt8Steps ? k : begin + 32 * kInt8Steps;
    __m512i acc[R];
    UNROLL for (int r = 0; r < R; r++) acc[r] = _mm512_setzero_si512();
    size_t i = begin;
    for (; i + 32 <= end; i += 32) {
      const __m512i x = _mm512_loadu_si512(q + i);
      UNROLL for (int r = 0; r < R; r++) {
        const uint8_t* p = w + r * k + i;
        const __m256i packed = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
        if ((i & 32) == 0) PREFETCH(p + kAhead);
        acc[r] = _mm512_dpwssd_epi32(acc[r], _mm512_cvtepi8_epi16(packed), x);
      }
    }
    if (i < end) {
      const __mmask32 rest = (1u << (end - i)) - 1;
      const __m512i x = _mm512_loadu_si512(q + i);
      UNROLL for (int r = 0; r < R; r++) {
        const __m256i packed = _mm256_maskz_loadu_epi8(rest, w + r * k + i);
        acc[r] = _mm512_dpwssd_epi32(acc[r], _mm512_cvtepi8_epi16(packed), x);
      }
    }
    UNROLL for (int r = 0; r < R; r++) {
      wide[r] = _mm512_add_epi64(wide[r], _mm512_cvtepi32_epi64(_mm512_castsi512_si256(acc[r])));
      wide[r] =
          _mm512_add_epi64(wide[r], _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(acc[r], 1)));
    }
  }
  UNROLL for (int r = 0; r < R; r++) sums[r] = _mm512_reduce_add_epi64(wide[r]);
}

void int8_gemv_avx512vnni(size_t rows, size_t k, const int16_t* q, const uint8_t* w,
                          int64_t* sums) {
  size_t n = 0;
  for (; n + 4 <= rows; n += 4) int8_rows<4>(k, q, w + n * k, sums + n);
  for (; n < rows; n++) int8_rows<1>(k, q, w + n * k, sums + n);
}

}  // namespace bitnet
