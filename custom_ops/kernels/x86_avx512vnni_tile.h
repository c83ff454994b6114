// A tile of products of panels and int8 activations, of AVX-512 VNNI alone, and how columns become
// panels.
#pragma once

#include "kernels/x86_avx512vnni.h"

namespace bitnet {

// sums[m][0..32) += panel x q for M activation rows. The first panel starts from -q_sums.
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
  for (size_t g = 0; g < groups; g++, panel += kQuadBytes, q += 4) {
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
