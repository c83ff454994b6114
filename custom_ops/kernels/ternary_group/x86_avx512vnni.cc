#include "kernels/x86_avx512vnni.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ternary_group/ternary_group.h"

namespace bitnet {

static constexpr size_t kAhead = 20480;  // bytes

// The sums of four vectors, in each quarter by itself: [a b c d] four times.
static inline __m512i add_quarters(const __m512i v[4]) {
  const __m512i ab =
      _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
  const __m512i cd =
      _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

// Sums of code * q over one block of four weight rows, for each of its two groups.
template <int M>
static inline void block_sums(const uint8_t* const w[4], size_t block, const int8_t* q,
                              size_t q_stride, __m128i sums[M][2]) {
  const __m512i mask = _mm512_set1_epi8(3), zero = _mm512_setzero_si512();
  __m512i quarters[M][2];
  UNROLL for (int half = 0; half < 2; half++) {
    __m512i acc[M][4];
    UNROLL for (int r = 0; r < 4; r++) {
      const uint8_t* p = w[r] + block * kBlockBytes;
      if (half == 0) PREFETCH_FAR(p + kAhead);
      const __m512i packed = _mm512_srli_epi16(_mm512_loadu_si512(p), 4 * half);
      const __m512i low = _mm512_and_si512(packed, mask);
      const __m512i high = _mm512_and_si512(_mm512_srli_epi16(packed, 2), mask);
      UNROLL for (int m = 0; m < M; m++) {
        const int8_t* x = q + m * q_stride + half * kGroupK;
        acc[m][r] = _mm512_dpbusd_epi32(zero, low, _mm512_loadu_si512(x));
        acc[m][r] = _mm512_dpbusd_epi32(acc[m][r], high, _mm512_loadu_si512(x + 64));
      }
    }
    UNROLL for (int m = 0; m < M; m++) quarters[m][half] = add_quarters(acc[m]);
  }
  UNROLL for (int m = 0; m < M; m++) {
    const __m512i a = quarters[m][0], b = quarters[m][1];
    const __m512i halves =
        _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
    const __m512i whole = _mm512_add_epi32(halves, _mm512_shuffle_i32x4(halves, halves, 0xb1));
    sums[m][0] = _mm512_castsi512_si128(whole);
    sums[m][1] = _mm512_extracti32x4_epi32(whole, 2);
  }
}

static inline void store_totals(__m256d total, size_t n0, size_t n, double* totals) {
  const __mmask8 mask = static_cast<__mmask8>(n - n0 < 4 ? (1u << (n - n0)) - 1 : 15);
  _mm256_mask_storeu_pd(totals + n0, mask, total);
}

}  // namespace bitnet

#include "kernels/ternary_group/x86.inc"

namespace bitnet {

using Few = void (*)(size_t, size_t, const int8_t*, const int32_t*, const uint8_t*, const float*,
                     double*, size_t);
static const Few kFew[] = {few<1>, few<2>, few<3>, few<4>};
static_assert(sizeof kFew / sizeof kFew[0] == kFewRows, "one for each");

// More activation rows: panels of 32 weight rows by 2 blocks, as in ternary_gemm. Each group of a
// panel goes from int32 to the float64 totals, which stay in the first cache for these 4 groups.
static constexpr size_t kPanelGroups = 4;
static constexpr size_t kQuads = kGroupK / 4;

// sums[m][0..32) = codes x q, for M activation rows. The sums go to memory: with the float64 part
// in the same loop nest, GCC 12 copies every accumulator twice in each round.
template <int M>
static void tile(size_t quads, const uint8_t* codes, const int8_t* q, size_t q_stride,
                 int32_t* sums) {
  __m512i acc[M][2];
  UNROLL for (int m = 0; m < M; m++) acc[m][0] = acc[m][1] = _mm512_setzero_si512();
  for (size_t i = 0; i < quads; i++, codes += kQuadBytes, q += 4) {
    const __m512i w0 = _mm512_loadu_si512(codes), w1 = _mm512_loadu_si512(codes + 64);
    UNROLL for (int m = 0; m < M; m++) {
      const __m512i x = _mm512_set1_epi32(load_4(q + m * q_stride));
      acc[m][0] = _mm512_dpbusd_epi32(acc[m][0], w0, x);
      acc[m][1] = _mm512_dpbusd_epi32(acc[m][1], w1, x);
    }
  }
  UNROLL for (int m = 0; m < M; m++) {
    _mm512_store_si512(sums + m * kTileN, acc[m][0]);
    _mm512_store_si512(sums + m * kTileN + 16, acc[m][1]);
  }
}

using Tile = void (*)(size_t, const uint8_t*, const int8_t*, size_t, int32_t*);
static const Tile kTiles[] = {tile<1>, tile<2>, tile<3>, tile<4>,
                              tile<5>, tile<6>, tile<7>, tile<8>};

// totals[0..rows) += scale * (sums - q_sum), from 0 for the first group
static inline void add_row(size_t rows, const int32_t* sums, int32_t q_sum, const float* scale,
                           bool first, double* totals) {
  const __m256i minus = _mm256_set1_epi32(q_sum);
  for (size_t i = 0; i < rows; i += 8) {
    const __mmask8 mask = static_cast<__mmask8>(rows - i < 8 ? (1u << (rows - i)) - 1 : 255);
    const __m256i some = _mm256_load_si256(reinterpret_cast<const __m256i*>(sums + i));
    const __m512d exact = _mm512_cvtepi32_pd(_mm256_sub_epi32(some, minus));
    const __m512d old = _mm512_maskz_loadu_pd(first ? __mmask8{0} : mask, totals + i);
    const __m512d factor = _mm512_cvtps_pd(_mm256_load_ps(scale + i));
    _mm512_mask_storeu_pd(totals + i, mask, _mm512_fmadd_pd(exact, factor, old));
  }
}

void ternary_group_avx512vnni(size_t m, size_t n, size_t groups, const int8_t* q,
                              const int32_t* q_sums, const uint8_t* w, const float* scale,
                              double* totals, size_t stride) {
  if (m <= kFewRows) {
    if (m > 0) kFew[m - 1](n, groups, q, q_sums, w, scale, totals, stride);
    return;
  }
  alignas(64) uint8_t codes[kPanelGroups * kQuads * kQuadBytes];
  alignas(64) float factors[kPanelGroups * kTileN] = {0};
  const size_t blocks = (groups + 1) / 2;
  const size_t row_bytes = blocks * kBlockBytes, q_stride = blocks * kBlockK;
  const char* scales = reinterpret_cast<const char*>(scale);
  for (size_t n0 = 0; n0 < n; n0 += kTileN) {
    const size_t rows = n - n0 < kTileN ? n - n0 : kTileN, rows0 = rows < 16 ? rows : 16;
    for (size_t g0 = 0; g0 < groups; g0 += kPanelGroups) {
      const size_t count = groups - g0 < kPanelGroups ? groups - g0 : kPanelGroups;
      for (size_t g = 0; g < count; g += 2) {
        const uint8_t* from = w + n0 * row_bytes + (g0 + g) / 2 * kBlockBytes;
        uint8_t* to = codes + g * kQuads * kQuadBytes;
        unpack_block(from, row_bytes, rows0, to);
        if (rows > 16) unpack_block(from + 16 * row_bytes, row_bytes, rows - 16, to + 64);
      }
      for (size_t r = 0; r < rows; r++) {
        const char* from = scales + 4 * ((n0 + r) * groups + g0);
        for (size_t g = 0; g < count; g++) factors[g * kTileN + r] = load_float(from + 4 * g);
      }
      for (size_t m0 = 0; m0 < m; m0 += 8) {
        const size_t tall = m - m0 < 8 ? m - m0 : 8;
        for (size_t g = 0; g < count; g++) {
          alignas(64) int32_t sums[8 * kTileN];
          kTiles[tall - 1](kQuads, codes + g * kQuads * kQuadBytes,
                           q + m0 * q_stride + (g0 + g) * kGroupK, q_stride, sums);
          for (size_t i = 0; i < tall; i++) {
            add_row(rows, sums + i * kTileN, q_sums[(m0 + i) * groups + g0 + g],
                    factors + g * kTileN, g0 + g == 0, totals + (m0 + i) * stride + n0);
          }
        }
      }
    }
  }
}

}  // namespace bitnet
