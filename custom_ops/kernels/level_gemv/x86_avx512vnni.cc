#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/level_gemv/level_gemv.h"

namespace bitnet {

// Bytes that are fetched ahead into the second cache, and into the first one where later activation
// rows read them again.
static constexpr size_t kFar = 12288, kAhead = 8192;
static constexpr size_t kTogether = 4;  // activation rows that read a weight row once

// Weights 64 t to 64 t + 63 of a block, t < 4.
template <int Bits>
static inline __m512i codes_of(const uint8_t* block, int t) {
  __m512i low = _mm512_loadu_si512(block + t / 2 * 64);
  if (t & 1) low = _mm512_srli_epi16(low, 4);
  low = _mm512_and_si512(low, _mm512_set1_epi8(15));
  if (Bits == 4) return low;
  const __m512i packed = _mm512_loadu_si512(block + kInt4Bytes);
  const __m512i moved = t == 3   ? _mm512_srli_epi16(packed, 2)
                        : t == 2 ? packed
                                 : _mm512_slli_epi16(packed, t == 1 ? 2 : 4);
  return _mm512_or_si512(low, _mm512_and_si512(moved, _mm512_set1_epi8(48)));
}

// One weight row by M activation rows, which are all or some.
template <int Bits, int M>
static void row_sums(bool all, size_t blocks, const SplitBlock* x, const uint8_t* codes,
                     const int8_t* levels, int64_t* sums, size_t stride) {
  __m512i acc[M];
  UNROLL for (int m = 0; m < M; m++) acc[m] = _mm512_setzero_si512();
  for (size_t b = 0; b < blocks; b++, codes += 32 * Bits, levels += kLevels) {
    UNROLL for (int line = 0; line < Bits / 2; line++) {
      if (all) {
        PREFETCH_FAR(codes + 64 * line + kFar);
      } else {
        PREFETCH(codes + 64 * line + kAhead);
      }
    }
    __m512i code[4];
    UNROLL for (int t = 0; t < 4; t++) code[t] = codes_of<Bits>(codes, t);
    // Lanes j and 8 + j have level j.
    const __m512i level = _mm512_cvtepi8_epi32(
        _mm_broadcastq_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(levels))));
    const __m512i odd_level = _mm512_srli_epi64(level, 32);
    UNROLL for (int m = 0; m < M; m++) {
      const SplitBlock& block = x[m * blocks + b];
      __m512i low = _mm512_setzero_si512(), high = _mm512_setzero_si512();
      UNROLL for (int t = 0; t < 4; t++) {
        low = _mm512_dpbusd_epi32(low, code[t], _mm512_load_si512(block.low + 64 * t));
        high = _mm512_dpbusd_epi32(high, code[t], _mm512_load_si512(block.high + 64 * t));
      }
      const __m512i zeros = _mm512_slli_epi32(_mm512_load_si512(block.sums), Bits - 1);
      const __m512i sum =
          _mm512_sub_epi32(_mm512_add_epi32(low, _mm512_slli_epi32(high, 8)), zeros);
      acc[m] = _mm512_add_epi64(acc[m], _mm512_mul_epi32(sum, level));
      acc[m] = _mm512_add_epi64(acc[m], _mm512_mul_epi32(_mm512_srli_epi64(sum, 32), odd_level));
    }
  }
  UNROLL for (int m = 0; m < M; m++) sums[m * stride] = _mm512_reduce_add_epi64(acc[m]);
}

template <int Bits>
static void gemv(size_t m, size_t rows, size_t blocks, const SplitBlock* x, const uint8_t* codes,
                 const int8_t* levels, int64_t* sums, size_t stride) {
  const bool all = m <= kTogether;
  for (size_t n = 0; n < rows; n++) {
    size_t i = 0;
    for (; i + kTogether <= m; i += kTogether) {
      row_sums<Bits, kTogether>(all, blocks, x + i * blocks, codes, levels, sums + i * stride + n,
                                stride);
    }
    for (; i + 2 <= m; i += 2) {
      row_sums<Bits, 2>(all, blocks, x + i * blocks, codes, levels, sums + i * stride + n, stride);
    }
    if (i < m) {
      row_sums<Bits, 1>(all, blocks, x + i * blocks, codes, levels, sums + i * stride + n, stride);
    }
    codes += blocks * 32 * Bits;
    levels += blocks * kLevels;
  }
}

void level_gemv_int4_avx512vnni(size_t m, size_t rows, size_t blocks, const SplitBlock* x,
                                const uint8_t* codes, const int8_t* levels, int64_t* sums,
                                size_t stride) {
  gemv<4>(m, rows, blocks, x, codes, levels, sums, stride);
}

void level_gemv_int6_avx512vnni(size_t m, size_t rows, size_t blocks, const SplitBlock* x,
                                const uint8_t* codes, const int8_t* levels, int64_t* sums,
                                size_t stride) {
  gemv<6>(m, rows, blocks, x, codes, levels, sums, stride);
}

}  // namespace bitnet
