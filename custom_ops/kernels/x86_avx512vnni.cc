#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernel.h"

namespace bitnet {

// Ternary: a field is taken out of a byte by a mask alone, which leaves 4^j times the code; each
// field has its own accumulator and is shifted once at the end. A lane adds 4 products a block.
static_assert(192ll * 128 * 4 * (kMaxK / kBlockK) <= INT32_MAX, "int32 lanes");

// Bytes ahead: the best of 512 to 16384 on Cascade Lake, by up to a third.
static constexpr size_t kAhead = 8192;

static inline void prefetch(const uint8_t* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p + kAhead), _MM_HINT_T0);
}

static inline int32_t load_4(const int8_t* p) {
  int32_t word;
  memcpy(&word, p, 4);
  return word;
}

static inline __m128i fold(__m512i v) {
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

// Sums of R rows, R at most 4, lanes R to 3 are zero.
template <int R>
static inline __m128i ternary_rows(size_t blocks, const int8_t* q, const uint8_t* w) {
  __m512i acc[R][4];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < 4; j++) acc[r][j] = _mm512_setzero_si512();
  }
  const __m512i mask[4] = {_mm512_set1_epi8(0x03), _mm512_set1_epi8(0x0c), _mm512_set1_epi8(0x30),
                           _mm512_set1_epi8(static_cast<char>(0xc0))};
  const size_t row = blocks * kBlockBytes;
  for (size_t block = 0; block < blocks; block++, w += kBlockBytes, q += kBlockK) {
    __m512i x[4];
    UNROLL for (int j = 0; j < 4; j++) x[j] = _mm512_loadu_si512(q + 64 * j);
    UNROLL for (int r = 0; r < R; r++) {
      const __m512i packed = _mm512_loadu_si512(w + r * row);
      prefetch(w + r * row);
      UNROLL for (int j = 0; j < 4; j++) {
        acc[r][j] = _mm512_dpbusd_epi32(acc[r][j], _mm512_and_si512(packed, mask[j]), x[j]);
      }
    }
  }
  __m128i sums[4] = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128(),
                     _mm_setzero_si128()};
  UNROLL for (int r = 0; r < R; r++) {
    const __m512i low = _mm512_add_epi32(acc[r][0], _mm512_srai_epi32(acc[r][1], 2));
    const __m512i high =
        _mm512_add_epi32(_mm512_srai_epi32(acc[r][2], 4), _mm512_srai_epi32(acc[r][3], 6));
    sums[r] = fold(_mm512_add_epi32(low, high));
  }
  return _mm_hadd_epi32(_mm_hadd_epi32(sums[0], sums[1]), _mm_hadd_epi32(sums[2], sums[3]));
}

void ternary_gemv_avx512vnni(size_t rows, size_t blocks, const int8_t* q, int32_t q_sum,
                             const uint8_t* w, int32_t* sums) {
  const __m128i minus = _mm_set1_epi32(q_sum);
  size_t n = 0;
  for (; n + 4 <= rows; n += 4) {
    const __m128i four = ternary_rows<4>(blocks, q, w + n * blocks * kBlockBytes);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(sums + n), _mm_sub_epi32(four, minus));
  }
  for (; n < rows; n++) {
    const __m128i one = ternary_rows<1>(blocks, q, w + n * blocks * kBlockBytes);
    sums[n] = _mm_cvtsi128_si32(_mm_sub_epi32(one, minus));
  }
}

// GEMM: panels of 32 weight rows by 2 blocks are unpacked once for all activation rows, as
// [k / 4][row][k % 4], so that one vector holds 4 weights of each of 16 rows.
static constexpr size_t kPanelBlocks = 2;
static constexpr size_t kGroupBytes = 4 * kTileN;  // 4 weights of every row

static inline void transpose_16x16(__m512i v[16]) {
  __m512i t[16];
  UNROLL for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  UNROLL for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // v[4g + i] holds columns i, i + 4, i + 8, i + 12 of rows 4g to 4g + 3, one in each quarter.
  UNROLL for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0xdd);
  }
  UNROLL for (int i = 0; i < 4; i++) {
    v[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    v[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    v[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    v[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// One block of 16 rows; rows past `rows` repeat the last one.
static inline void unpack_block(const uint8_t* w, size_t row_bytes, size_t rows, uint8_t* panel) {
  __m512i v[16];
  UNROLL for (size_t i = 0; i < 16; i++) {
    v[i] = _mm512_loadu_si512(w + (i < rows ? i : rows - 1) * row_bytes);
  }
  transpose_16x16(v);
  const __m512i mask = _mm512_set1_epi8(3);
  UNROLL for (size_t i = 0; i < 16; i++, panel += kGroupBytes) {
    const __m512i p = v[i];
    _mm512_storeu_si512(panel, _mm512_and_si512(p, mask));
    _mm512_storeu_si512(panel + 16 * kGroupBytes, _mm512_and_si512(_mm512_srli_epi16(p, 2), mask));
    _mm512_storeu_si512(panel + 32 * kGroupBytes, _mm512_and_si512(_mm512_srli_epi16(p, 4), mask));
    _mm512_storeu_si512(panel + 48 * kGroupBytes, _mm512_and_si512(_mm512_srli_epi16(p, 6), mask));
  }
}

// sums[m][0..32) += panel x q for M activation rows; the first panel starts from -q_sums instead.
template <int M>
static void tile(size_t groups, const uint8_t* panel, const int8_t* q, size_t q_stride,
                 const int32_t* start, __mmask16 low, __mmask16 high, int32_t* sums,
                 size_t stride) {
  __m512i acc[M][2];
  UNROLL for (int m = 0; m < M; m++) {
    if (start) {
      acc[m][0] = acc[m][1] = _mm512_set1_epi32(-start[m]);
    } else {
      acc[m][0] = _mm512_maskz_loadu_epi32(low, sums + m * stride);
      acc[m][1] = _mm512_maskz_loadu_epi32(high, sums + m * stride + 16);
    }
  }
  for (size_t g = 0; g < groups; g++, panel += kGroupBytes, q += 4) {
    const __m512i w0 = _mm512_loadu_si512(panel), w1 = _mm512_loadu_si512(panel + 64);
    UNROLL for (int m = 0; m < M; m++) {
      const __m512i x = _mm512_set1_epi32(load_4(q + m * q_stride));
      acc[m][0] = _mm512_dpbusd_epi32(acc[m][0], w0, x);
      acc[m][1] = _mm512_dpbusd_epi32(acc[m][1], w1, x);
    }
  }
  UNROLL for (int m = 0; m < M; m++) {
    _mm512_mask_storeu_epi32(sums + m * stride, low, acc[m][0]);
    _mm512_mask_storeu_epi32(sums + m * stride + 16, high, acc[m][1]);
  }
}

using Tile = void (*)(size_t, const uint8_t*, const int8_t*, size_t, const int32_t*, __mmask16,
                      __mmask16, int32_t*, size_t);
static const Tile kTiles[] = {tile<1>, tile<2>, tile<3>, tile<4>,
                              tile<5>, tile<6>, tile<7>, tile<8>};

void ternary_gemm_avx512vnni(size_t m, size_t n, size_t blocks, const int8_t* q,
                             const int32_t* q_sums, const uint8_t* w, int32_t* sums,
                             size_t stride) {
  alignas(64) uint8_t panel[kPanelBlocks * 64 * kGroupBytes];
  const size_t row_bytes = blocks * kBlockBytes, q_stride = blocks * kBlockK;
  for (size_t n0 = 0; n0 < n; n0 += kTileN) {
    const size_t rows = n - n0 < kTileN ? n - n0 : kTileN;
    const size_t rows0 = rows < 16 ? rows : 16;
    const __mmask16 low = static_cast<__mmask16>((1u << rows0) - 1);
    const __mmask16 high = static_cast<__mmask16>((1u << (rows - rows0)) - 1);
    for (size_t b0 = 0; b0 < blocks; b0 += kPanelBlocks) {
      const size_t count = blocks - b0 < kPanelBlocks ? blocks - b0 : kPanelBlocks;
      for (size_t b = 0; b < count; b++) {
        const uint8_t* from = w + n0 * row_bytes + (b0 + b) * kBlockBytes;
        uint8_t* to = panel + b * 64 * kGroupBytes;
        unpack_block(from, row_bytes, rows0, to);
        if (rows > 16) unpack_block(from + 16 * row_bytes, row_bytes, rows - 16, to + 64);
      }
      for (size_t m0 = 0; m0 < m; m0 += 8) {
        const size_t tall = m - m0 < 8 ? m - m0 : 8;
        kTiles[tall - 1](count * 64, panel, q + m0 * q_stride + b0 * kBlockK, q_stride,
                         b0 ? nullptr : q_sums + m0, low, high, sums + m0 * stride + n0, stride);
      }
    }
  }
}

}  // namespace bitnet
