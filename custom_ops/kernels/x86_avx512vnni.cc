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
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
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

// Sums of R rows, R at most 4, lanes R to 3 are zero; those at `ahead` are prefetched.
template <int R>
static inline __m128i ternary_rows(size_t blocks, const int8_t* q, const uint8_t* const* row,
                                   const uint8_t* const* ahead) {
  __m512i acc[R][4];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < 4; j++) acc[r][j] = _mm512_setzero_si512();
  }
  const __m512i mask[4] = {_mm512_set1_epi8(0x03), _mm512_set1_epi8(0x0c), _mm512_set1_epi8(0x30),
                           _mm512_set1_epi8(static_cast<char>(0xc0))};
  for (size_t at = 0; at < blocks * kBlockBytes; at += kBlockBytes, q += kBlockK) {
    __m512i x[4];
    UNROLL for (int j = 0; j < 4; j++) x[j] = _mm512_loadu_si512(q + 64 * j);
    UNROLL for (int r = 0; r < R; r++) {
      const __m512i packed = _mm512_loadu_si512(row[r] + at);
      prefetch(ahead[r] + at);
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
  const size_t row_bytes = blocks * kBlockBytes;
  size_t n = 0;
  for (; n + 4 <= rows; n += 4) {
    const uint8_t *row[4], *ahead[4];
    UNROLL for (int r = 0; r < 4; r++) {
      row[r] = w + (n + r) * row_bytes;
      ahead[r] = row[r] + kAhead;
    }
    const __m128i four = ternary_rows<4>(blocks, q, row, ahead);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(sums + n), _mm_sub_epi32(four, minus));
  }
  for (; n < rows; n++) {
    const uint8_t *row = w + n * row_bytes, *ahead = row + kAhead;
    const __m128i one = ternary_rows<1>(blocks, q, &row, &ahead);
    sums[n] = _mm_cvtsi128_si32(_mm_sub_epi32(one, minus));
  }
}

void ternary_select_avx512vnni(size_t count, size_t blocks, const int8_t* q, int32_t q_sum,
                               const uint8_t* w, const int32_t* index, int32_t* sums) {
  const __m128i minus = _mm_set1_epi32(q_sum);
  const size_t row_bytes = blocks * kBlockBytes, next = kAhead / row_bytes + 4;
  for (size_t i = 0; i < count; i += 4) {
    const uint8_t *row[4], *ahead[4];
    for (size_t r = 0; r < 4; r++) {  // past the last row comes the last one again
      const size_t at = i + r < count ? i + r : count - 1;
      const size_t later = at + next < count ? at + next : count - 1;
      row[r] = w + static_cast<size_t>(index[at]) * row_bytes;
      ahead[r] = w + static_cast<size_t>(index[later]) * row_bytes;
    }
    const size_t here = count - i < 4 ? count - i : 4;
    const __m128i four = _mm_sub_epi32(ternary_rows<4>(blocks, q, row, ahead), minus);
    _mm_mask_storeu_epi32(sums + i, static_cast<__mmask8>((1u << here) - 1), four);
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

// GEMM of columns: 4 of them are interleaved at a time, still packed, to [half][k / 4][byte][k %
// 4], of which each field is the panel of 32 outputs.
static constexpr size_t kChunk = 256;  // columns
static constexpr size_t kHalfBytes = kChunk / 4 * kGroupBytes;

static inline void interleave_4(const uint8_t* const* column, uint8_t* packed) {
  const __m512i a = _mm512_loadu_si512(column[0]), b = _mm512_loadu_si512(column[1]);
  const __m512i c = _mm512_loadu_si512(column[2]), d = _mm512_loadu_si512(column[3]);
  const __m512i ab0 = _mm512_unpacklo_epi8(a, b), ab1 = _mm512_unpackhi_epi8(a, b);
  const __m512i cd0 = _mm512_unpacklo_epi8(c, d), cd1 = _mm512_unpackhi_epi8(c, d);
  // Quarter l of v[i] has bytes 16 l + 4 i to 16 l + 4 i + 3 of all 4.
  const __m512i v[4] = {_mm512_unpacklo_epi16(ab0, cd0), _mm512_unpackhi_epi16(ab0, cd0),
                        _mm512_unpacklo_epi16(ab1, cd1), _mm512_unpackhi_epi16(ab1, cd1)};
  const __m512i t[4] = {
      _mm512_shuffle_i32x4(v[0], v[1], 0x44), _mm512_shuffle_i32x4(v[2], v[3], 0x44),
      _mm512_shuffle_i32x4(v[0], v[1], 0xee), _mm512_shuffle_i32x4(v[2], v[3], 0xee)};
  UNROLL for (int half = 0; half < 2; half++, packed += kHalfBytes) {
    _mm512_storeu_si512(packed, _mm512_shuffle_i32x4(t[2 * half], t[2 * half + 1], 0x88));
    _mm512_storeu_si512(packed + 64, _mm512_shuffle_i32x4(t[2 * half], t[2 * half + 1], 0xdd));
  }
}

void ternary_columns_gemm_avx512vnni(size_t m, size_t count, const int8_t* q, size_t q_stride,
                                     const int32_t* q_sums, const uint8_t* w, size_t row_bytes,
                                     int32_t* sums, size_t stride) {
  alignas(64) uint8_t packed[2 * kHalfBytes], panel[kHalfBytes];
  const __mmask16 full = 0xffff;
  const __m512i mask = _mm512_set1_epi8(3);
  size_t k = 0;
  do {
    const size_t here = count - k < kChunk ? count - k : kChunk, groups = (here + 3) / 4;
    for (size_t g = 0; g < groups; g++) {
      const uint8_t* column[4];  // past the last one, where q is 0, it comes again
      UNROLL for (size_t c = 0; c < 4; c++) {
        const size_t at = k + 4 * g + c;
        column[c] = w + (at < count ? at : count - 1) * row_bytes;
      }
      interleave_4(column, packed + g * kGroupBytes);
    }
    for (int field = 0; field < 8; field++) {  // 4 of each half
      const uint8_t* from = packed + field % 2 * kHalfBytes;
      const __m128i shift = _mm_cvtsi32_si128(field / 2 * 2);
      for (size_t i = 0; i < groups * kGroupBytes; i += 64) {
        const __m512i codes = _mm512_srl_epi16(_mm512_loadu_si512(from + i), shift);
        _mm512_storeu_si512(panel + i, _mm512_and_si512(codes, mask));
      }
      int32_t* to = sums + field / 2 * 64 + field % 2 * 32;
      for (size_t m0 = 0; m0 < m; m0 += 8) {
        const size_t tall = m - m0 < 8 ? m - m0 : 8;
        kTiles[tall - 1](groups, panel, q + m0 * q_stride + k, q_stride, k ? nullptr : q_sums + m0,
                         full, full, to + m0 * stride, stride);
      }
    }
    k += kChunk;
  } while (k < count);
}

}  // namespace bitnet
