#include "kernels/x86_avx2.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ternary_group/ternary_group.h"

namespace bitnet {

static constexpr size_t kAhead = 20480;  // bytes

// The sums of four vectors of int16, in each half by itself: [a b c d] twice, as int32.
static inline __m256i add_halves(const __m256i v[4]) {
  const __m256i ones = _mm256_set1_epi16(1);
  const __m256i ab =
      _mm256_hadd_epi32(_mm256_madd_epi16(v[0], ones), _mm256_madd_epi16(v[1], ones));
  const __m256i cd =
      _mm256_hadd_epi32(_mm256_madd_epi16(v[2], ones), _mm256_madd_epi16(v[3], ones));
  return _mm256_hadd_epi32(ab, cd);
}

// Sums of code * q over one block of four weight rows, for each of its two groups.
template <int M>
static inline void block_sums(const uint8_t* const w[4], size_t block, const int8_t* q,
                              size_t q_stride, __m128i sums[M][2]) {
  static_assert(4 <= kMaddubs, "int16 lanes");
  const __m256i mask = _mm256_set1_epi8(3);
  UNROLL for (int half = 0; half < 2; half++) {
    __m256i acc[M][4];
    UNROLL for (int r = 0; r < 4; r++) {
      const uint8_t* p = w[r] + block * kBlockBytes;
      if (half == 0) PREFETCH_FAR(p + kAhead);
      UNROLL for (int part = 0; part < 2; part++) {
        const __m256i packed = _mm256_srli_epi16(load(p + 32 * part), 4 * half);
        const __m256i low = _mm256_and_si256(packed, mask);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(packed, 2), mask);
        UNROLL for (int m = 0; m < M; m++) {
          const int8_t* x = q + m * q_stride + half * kGroupK + 32 * part;
          const __m256i pair = _mm256_add_epi16(_mm256_maddubs_epi16(low, load(x)),
                                                _mm256_maddubs_epi16(high, load(x + 64)));
          acc[m][r] = part ? _mm256_add_epi16(acc[m][r], pair) : pair;
        }
      }
    }
    UNROLL for (int m = 0; m < M; m++) {
      const __m256i both = add_halves(acc[m]);
      sums[m][half] =
          _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    }
  }
}

static inline void store_totals(__m256d total, size_t n0, size_t n, double* totals) {
  double four[4];
  _mm256_storeu_pd(four, total);
  for (size_t r = 0; r < 4 && n0 + r < n; r++) totals[n0 + r] = four[r];
}

}  // namespace bitnet

#include "kernels/ternary_group/x86.inc"

namespace bitnet {

// Two activation rows at a time: three or four would be no faster.
static void pairs(size_t m, size_t n, size_t groups, const int8_t* q, const int32_t* q_sums,
                  const uint8_t* w, const float* scale, double* totals, size_t stride) {
  const size_t q_stride = (groups + 1) / 2 * kBlockK;
  for (size_t i = 0; i < m; i += 2) {
    (m - i == 1 ? few<1> : few<2>)(n, groups, q + i * q_stride, q_sums + i * groups, w, scale,
                                   totals + i * stride, stride);
  }
}

// More activation rows: panels of 16 weight rows by one block, as in ternary_gemm. Each group of a
// panel goes from int32 to the float64 totals.
static constexpr size_t kQuads = kGroupK / 4;
static_assert(kQuads <= kMaddubs, "int16 lanes");

// sums[m][0..16) = codes x q, for M activation rows. The sums go to memory: with the float64 part
// in the same loop nest, GCC 12 copies every accumulator twice in each round.
template <int M>
static void tile(size_t quads, const uint8_t* codes, const int8_t* q, size_t q_stride,
                 int32_t* sums) {
  __m256i acc[M][2];
  UNROLL for (int m = 0; m < M; m++) acc[m][0] = acc[m][1] = _mm256_setzero_si256();
  for (size_t i = 0; i < quads; i++, codes += kQuadBytes, q += 4) {
    const __m256i w0 = load(codes), w1 = load(codes + 32);
    UNROLL for (int m = 0; m < M; m++) {
      const __m256i x = _mm256_set1_epi32(load_4(q + m * q_stride));
      acc[m][0] = _mm256_add_epi16(acc[m][0], _mm256_maddubs_epi16(w0, x));
      acc[m][1] = _mm256_add_epi16(acc[m][1], _mm256_maddubs_epi16(w1, x));
    }
  }
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i* to = reinterpret_cast<__m256i*>(sums);
  UNROLL for (int m = 0; m < M; m++) {
    _mm256_store_si256(to + 2 * m, _mm256_madd_epi16(acc[m][0], ones));
    _mm256_store_si256(to + 2 * m + 1, _mm256_madd_epi16(acc[m][1], ones));
  }
}

using Tile = void (*)(size_t, const uint8_t*, const int8_t*, size_t, int32_t*);
static const Tile kTiles[] = {tile<1>, tile<2>, tile<3>, tile<4>};

// totals[0..rows) += scale * (sums - q_sum), from 0 for the first group
static inline void add_row(size_t rows, const int32_t* sums, int32_t q_sum, const float* scale,
                           bool first, double* totals) {
  const __m128i minus = _mm_set1_epi32(q_sum);
  size_t i = 0;
  for (; i + 4 <= rows; i += 4) {
    const __m128i some = _mm_load_si128(reinterpret_cast<const __m128i*>(sums + i));
    const __m256d exact = _mm256_cvtepi32_pd(_mm_sub_epi32(some, minus));
    const __m256d old = first ? _mm256_setzero_pd() : _mm256_loadu_pd(totals + i);
    const __m256d factor = _mm256_cvtps_pd(_mm_load_ps(scale + i));
    _mm256_storeu_pd(totals + i, _mm256_fmadd_pd(exact, factor, old));
  }
  for (; i < rows; i++) {
    const double term = static_cast<double>(sums[i] - q_sum) * static_cast<double>(scale[i]);
    totals[i] = (first ? 0.0 : totals[i]) + term;
  }
}

void ternary_group_avx2(size_t m, size_t n, size_t groups, const int8_t* q, const int32_t* q_sums,
                        const uint8_t* w, const float* scale, double* totals, size_t stride) {
  if (m <= kFewRows) return pairs(m, n, groups, q, q_sums, w, scale, totals, stride);
  alignas(32) uint8_t codes[2 * kQuads * kQuadBytes];
  alignas(32) float factors[kRows] = {0};
  alignas(32) int32_t sums[4 * kRows];
  const size_t blocks = (groups + 1) / 2;
  const size_t row_bytes = blocks * kBlockBytes, q_stride = blocks * kBlockK;
  const char* scales = reinterpret_cast<const char*>(scale);
  for (size_t n0 = 0; n0 < n; n0 += kRows) {
    const size_t rows = n - n0 < kRows ? n - n0 : kRows, rows0 = rows < 8 ? rows : 8;
    for (size_t g = 0; g < groups; g++) {
      if (g % 2 == 0) {
        const uint8_t* from = w + n0 * row_bytes + g / 2 * kBlockBytes;
        unpack_block(from, row_bytes, rows0, codes);
        if (rows > 8) unpack_block(from + 8 * row_bytes, row_bytes, rows - 8, codes + 32);
      }
      for (size_t r = 0; r < rows; r++) {
        factors[r] = load_float(scales + 4 * ((n0 + r) * groups + g));
      }
      for (size_t m0 = 0; m0 < m; m0 += 4) {
        const size_t tall = m - m0 < 4 ? m - m0 : 4;
        kTiles[tall - 1](kQuads, codes + g % 2 * kQuads * kQuadBytes,
                         q + m0 * q_stride + g * kGroupK, q_stride, sums);
        for (size_t i = 0; i < tall; i++) {
          add_row(rows, sums + i * kRows, q_sums[(m0 + i) * groups + g], factors, g == 0,
                  totals + (m0 + i) * stride + n0);
        }
      }
    }
  }
}

}  // namespace bitnet
