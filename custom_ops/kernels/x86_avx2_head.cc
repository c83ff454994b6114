#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel.h"

namespace bitnet {

static constexpr size_t kAhead = 8192;

static inline void prefetch(const uint8_t* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p + kAhead), _MM_HINT_T0);
}

static inline __m256i load(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

static inline __m128i load_half(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}

// Lanes 0 2 4 6, 8 10 12 14, 1 3 5 7, 9 11 13 15 from 16 weights: bfloat16 pairs are 32-bit words
// whose low half is the even weight.
static inline void bf16_step(__m256d acc[4], const double* x, const uint8_t* w) {
  const __m128i top = _mm_set1_epi32(static_cast<int>(0xffff0000));
  UNROLL for (int half = 0; half < 2; half++) {
    const __m128i pairs = load_half(w + 16 * half);
    const __m256d even = _mm256_cvtps_pd(_mm_castsi128_ps(_mm_slli_epi32(pairs, 16)));
    const __m256d odd = _mm256_cvtps_pd(_mm_castsi128_ps(_mm_and_si128(pairs, top)));
    acc[half] = _mm256_fmadd_pd(_mm256_loadu_pd(x + 4 * half), even, acc[half]);
    acc[2 + half] = _mm256_fmadd_pd(_mm256_loadu_pd(x + 8 + 4 * half), odd, acc[2 + half]);
  }
}

// A row by itself is the last one, or one of TwoStepMatMul: what follows is not read.
template <int R>
static void bf16_rows(size_t k, const double* x, const uint8_t* w, float* y) {
  __m256d acc[R][4];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < 4; j++) acc[r][j] = _mm256_setzero_pd();
  }
  size_t i = 0;
  for (; i + 16 <= k; i += 16) {
    UNROLL for (int r = 0; r < R; r++) {
      const uint8_t* p = w + 2 * (r * k + i);
      if (R > 1 && (i & 16) == 0) prefetch(p);
      bf16_step(acc[r], x + i, p);
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    if (i < k) {
      uint8_t rest[32] = {0};
      for (size_t b = 0; b < 2 * (k - i); b++) rest[b] = w[2 * (r * k + i) + b];
      bf16_step(acc[r], x + i, rest);
    }
    const __m256d e = _mm256_add_pd(acc[r][0], acc[r][1]), o = _mm256_add_pd(acc[r][2], acc[r][3]);
    const __m128d e2 = _mm_add_pd(_mm256_castpd256_pd128(e), _mm256_extractf128_pd(e, 1));
    const __m128d o2 = _mm_add_pd(_mm256_castpd256_pd128(o), _mm256_extractf128_pd(o, 1));
    const __m128d pair = _mm_add_pd(_mm_unpacklo_pd(e2, o2), _mm_unpackhi_pd(e2, o2));
    y[r] = static_cast<float>(_mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair))));
  }
}

void bf16_gemv_avx2(size_t rows, size_t k, const double* x, const uint8_t* w, float* y) {
  size_t n = 0;
  for (; n + 2 <= rows; n += 2) bf16_rows<2>(k, x, w + 2 * n * k, y + n);
  for (; n < rows; n++) bf16_rows<1>(k, x, w + 2 * n * k, y + n);
}

// int8 weights widen to 16 bits; one step adds two products to each int32 lane.
static constexpr size_t kInt8Steps = 256;  // between two widenings to int64
static_assert(kInt8Steps * 2 * 32512 * 128 <= INT32_MAX, "int32 lanes");

static inline __m256i int8_step(__m256i acc, const int16_t* q, const uint8_t* w) {
  const __m256i wide = _mm256_cvtepi8_epi16(load_half(w));
  return _mm256_add_epi32(acc, _mm256_madd_epi16(wide, load(q)));
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
        if ((i & 48) == 0) prefetch(w + r * k + i);
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

void int8_gemv_avx2(size_t rows, size_t k, const int16_t* q, const uint8_t* w, int64_t* sums) {
  size_t n = 0;
  for (; n + 4 <= rows; n += 4) int8_rows<4>(k, q, w + n * k, sums + n);
  for (; n < rows; n++) int8_rows<1>(k, q, w + n * k, sums + n);
}

uint64_t read_avx2(const uint8_t* data, size_t bytes) {
  __m256i acc[4];
  UNROLL for (int j = 0; j < 4; j++) acc[j] = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 128 <= bytes; i += 128) {
    prefetch(data + i);
    prefetch(data + i + 64);
    UNROLL for (int j = 0; j < 4; j++) acc[j] = _mm256_xor_si256(acc[j], load(data + i + 32 * j));
  }
  const __m256i both =
      _mm256_xor_si256(_mm256_xor_si256(acc[0], acc[1]), _mm256_xor_si256(acc[2], acc[3]));
  uint64_t words[4];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), both);
  return words[0] ^ words[1] ^ words[2] ^ words[3] ^ read_scalar(data + i, bytes - i);
}

}  // namespace bitnet
