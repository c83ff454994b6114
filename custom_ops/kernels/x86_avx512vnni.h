// Shared by the AVX-512 VNNI files alone. For many activation rows, panels of 32 weight rows are
// unpacked to [k / 4][row][k % 4]: one vector holds 4 weights of each of 16 rows.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/format.h"
#include "kernels/ternary_gemm/ternary_gemm.h"

namespace bitnet {

static constexpr size_t kQuadBytes = 4 * kTileN;

static inline int32_t load_4(const int8_t* p) {
  int32_t word;
  memcpy(&word, p, 4);
  return word;
}

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
static NOINLINE void unpack_block(const uint8_t* w, size_t row_bytes, size_t rows, uint8_t* panel) {
  __m512i v[16];
  UNROLL for (size_t i = 0; i < 16; i++) {
    v[i] = _mm512_loadu_si512(w + (i < rows ? i : rows - 1) * row_bytes);
  }
  transpose_16x16(v);
  const __m512i mask = _mm512_set1_epi8(3);
  UNROLL for (size_t i = 0; i < 16; i++, panel += kQuadBytes) {
    const __m512i p = v[i];
    _mm512_storeu_si512(panel, _mm512_and_si512(p, mask));
    _mm512_storeu_si512(panel + 16 * kQuadBytes, _mm512_and_si512(_mm512_srli_epi16(p, 2), mask));
    _mm512_storeu_si512(panel + 32 * kQuadBytes, _mm512_and_si512(_mm512_srli_epi16(p, 4), mask));
    _mm512_storeu_si512(panel + 48 * kQuadBytes, _mm512_and_si512(_mm512_srli_epi16(p, 6), mask));
  }
}

// Columns, 4 of them at a time, are interleaved while packed, to [half][k / 4][byte][k % 4], with
// half_bytes from half to half. Each field is then the panel of 32 outputs.
static inline void interleave_4(const uint8_t* const* column, uint8_t* packed, size_t half_bytes) {
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
  UNROLL for (int half = 0; half < 2; half++, packed += half_bytes) {
    _mm512_storeu_si512(packed, _mm512_shuffle_i32x4(t[2 * half], t[2 * half + 1], 0x88));
    _mm512_storeu_si512(packed + 64, _mm512_shuffle_i32x4(t[2 * half], t[2 * half + 1], 0xdd));
  }
}

}  // namespace bitnet
