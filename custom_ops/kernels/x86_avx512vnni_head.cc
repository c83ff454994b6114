#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel.h"

namespace bitnet {

// Bytes ahead: the best of 512 to 16384 on Cascade Lake, by up to a third.
static constexpr size_t kAhead = 8192;

static inline void prefetch(const uint8_t* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p + kAhead), _MM_HINT_T0);
}

// bfloat16 pairs are 32-bit words: the even one is the low half, the odd one the high half.
template <int R>
static inline void bf16_step(__m512d even[R], __m512d odd[R], const double* x, const __m256i w[R]) {
  const __m512d x_even = _mm512_loadu_pd(x), x_odd = _mm512_loadu_pd(x + 8);
  const __m256i top = _mm256_set1_epi32(static_cast<int>(0xffff0000));
  UNROLL for (int r = 0; r < R; r++) {
    const __m256 w_even = _mm256_castsi256_ps(_mm256_slli_epi32(w[r], 16));
    const __m256 w_odd = _mm256_castsi256_ps(_mm256_and_si256(w[r], top));
    even[r] = _mm512_fmadd_pd(x_even, _mm512_cvtps_pd(w_even), even[r]);
    odd[r] = _mm512_fmadd_pd(x_odd, _mm512_cvtps_pd(w_odd), odd[r]);
  }
}

// A row by itself is the last one, or one of TwoStepMatMul: what follows is not read.
template <int R>
static void bf16_rows(size_t k, const double* x, const uint8_t* w, float* y) {
  __m512d even[R], odd[R];
  UNROLL for (int r = 0; r < R; r++) even[r] = odd[r] = _mm512_setzero_pd();
  __m256i packed[R];
  size_t i = 0;
  for (; i + 16 <= k; i += 16) {
    UNROLL for (int r = 0; r < R; r++) {
      const uint8_t* p = w + 2 * (r * k + i);
      packed[r] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
      if (R > 1 && (i & 16) == 0) prefetch(p);
    }
    bf16_step<R>(even, odd, x + i, packed);
  }
  if (i < k) {
    const __mmask16 rest = static_cast<__mmask16>((1u << (k - i)) - 1);
    UNROLL for (int r = 0; r < R; r++) packed[r] =
        _mm256_maskz_loadu_epi16(rest, w + 2 * (r * k + i));
    bf16_step<R>(even, odd, x + i, packed);
  }
  UNROLL for (int r = 0; r < R; r++) {
    // Lanes 0, 2, ... 14 and 1, 3, ... 15: fold +8, +4, +2 inside each, then +1 across.
    __m256d e = _mm256_add_pd(_mm512_castpd512_pd256(even[r]), _mm512_extractf64x4_pd(even[r], 1));
    __m256d o = _mm256_add_pd(_mm512_castpd512_pd256(odd[r]), _mm512_extractf64x4_pd(odd[r], 1));
    const __m128d e2 = _mm_add_pd(_mm256_castpd256_pd128(e), _mm256_extractf128_pd(e, 1));
    const __m128d o2 = _mm_add_pd(_mm256_castpd256_pd128(o), _mm256_extractf128_pd(o, 1));
    const __m128d pair = _mm_add_pd(_mm_unpacklo_pd(e2, o2), _mm_unpackhi_pd(e2, o2));
    const double sum = _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
    y[r] = static_cast<float>(sum);
  }
}

void bf16_gemv_avx512vnni(size_t rows, size_t k, const double* x, const uint8_t* w, float* y) {
  size_t n = 0;
  for (; n + 4 <= rows; n += 4) bf16_rows<4>(k, x, w + 2 * n * k, y + n);
  for (; n < rows; n++) bf16_rows<1>(k, x, w + 2 * n * k, y + n);
}

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
        if ((i & 32) == 0) prefetch(p);
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

uint64_t read_avx512vnni(const uint8_t* data, size_t bytes) {
  __m512i acc[4];
  UNROLL for (int j = 0; j < 4; j++) acc[j] = _mm512_setzero_si512();
  size_t i = 0;
  for (; i + 256 <= bytes; i += 256) {
    UNROLL for (int j = 0; j < 4; j++) {
      prefetch(data + i + 64 * j);
      acc[j] = _mm512_xor_si512(acc[j], _mm512_loadu_si512(data + i + 64 * j));
    }
  }
  const __m512i both =
      _mm512_xor_si512(_mm512_xor_si512(acc[0], acc[1]), _mm512_xor_si512(acc[2], acc[3]));
  alignas(64) uint64_t words[8];
  _mm512_store_si512(words, both);
  uint64_t sum = 0;
  UNROLL for (int j = 0; j < 8; j++) sum ^= words[j];
  return sum ^ read_scalar(data + i, bytes - i);
}

}  // namespace bitnet
