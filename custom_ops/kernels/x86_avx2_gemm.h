// The GEMMs of AVX2 and AVX-VNNI, and of them alone: they differ in the instructions of a tile.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel.h"
#include "x86_avx2.h"

namespace bitnet {

// sums[m][0..16) += panel x q for some activation rows and kGroups groups of 4 along k; tiles[i] is
// for i + 1 rows.
using Tile = void (*)(const uint8_t*, const int8_t*, size_t, __m256i, __m256i, int32_t*, size_t);

// The first `count` of 8 lanes.
static inline __m256i lanes(size_t count) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), index);
}

// GEMM: panels of 16 weight rows by one block are unpacked once for all activation rows.
template <size_t kGroups, size_t kTall>
static inline void gemm(const Tile (&tiles)[kTall], size_t m, size_t n, size_t blocks, const int8_t* q,
                        const int32_t* q_sums, const uint8_t* w, int32_t* sums, size_t stride) {
  alignas(32) uint8_t panel[64 * kQuadBytes];
  const size_t row_bytes = blocks * kBlockBytes, q_stride = blocks * kBlockK;
  for (size_t i = 0; i < m; i++) {
    for (size_t j = 0; j < n; j++) sums[i * stride + j] = -q_sums[i];
  }
  for (size_t n0 = 0; n0 < n; n0 += kRows) {
    const size_t rows = n - n0 < kRows ? n - n0 : kRows, rows0 = rows < 8 ? rows : 8;
    const __m256i low = lanes(rows0), high = lanes(rows - rows0);
    for (size_t b = 0; b < blocks; b++) {
      const uint8_t* from = w + n0 * row_bytes + b * kBlockBytes;
      unpack_block(from, row_bytes, rows0, panel);
      if (rows > 8) unpack_block(from + 8 * row_bytes, row_bytes, rows - 8, panel + 32);
      UNROLL for (size_t g = 0; g < 64; g += kGroups) {
        const int8_t* x = q + b * kBlockK + 4 * g;
        for (size_t m0 = 0; m0 < m; m0 += kTall) {
          const size_t tall = m - m0 < kTall ? m - m0 : kTall;
          tiles[tall - 1](panel + g * kQuadBytes, x + m0 * q_stride, q_stride, low,
                          high, sums + m0 * stride + n0, stride);
        }
      }
    }
  }
}

// GEMM of columns: 4 of them are interleaved at a time, still packed, to [quarter][k / 4][byte]
// [k % 4], of which each field is the panel of 16 outputs.
template <size_t kPanelBytes>
static inline void interleave_4(const uint8_t* const* column, uint8_t* packed) {
  for (size_t half = 0; half < 2; half++, packed += 2 * kPanelBytes) {
    const __m256i a = load(column[0] + 32 * half), b = load(column[1] + 32 * half);
    const __m256i c = load(column[2] + 32 * half), d = load(column[3] + 32 * half);
    const __m256i ab0 = _mm256_unpacklo_epi8(a, b), ab1 = _mm256_unpackhi_epi8(a, b);
    const __m256i cd0 = _mm256_unpacklo_epi8(c, d), cd1 = _mm256_unpackhi_epi8(c, d);
    // Half l of v[i] has bytes 16 l + 4 i to 16 l + 4 i + 3 of all 4.
    const __m256i v[4] = {_mm256_unpacklo_epi16(ab0, cd0), _mm256_unpackhi_epi16(ab0, cd0),
                          _mm256_unpacklo_epi16(ab1, cd1), _mm256_unpackhi_epi16(ab1, cd1)};
    UNROLL for (int i = 0; i < 2; i++) {
      __m256i* to = reinterpret_cast<__m256i*>(packed + 32 * i);
      __m256i* next = reinterpret_cast<__m256i*>(packed + kPanelBytes + 32 * i);
      _mm256_storeu_si256(to, _mm256_permute2x128_si256(v[2 * i], v[2 * i + 1], 0x20));
      _mm256_storeu_si256(next, _mm256_permute2x128_si256(v[2 * i], v[2 * i + 1], 0x31));
    }
  }
}

template <size_t kGroups, size_t kTall>
static inline void columns_gemm(const Tile (&tiles)[kTall], size_t m, size_t count, const int8_t* q,
                                size_t q_stride, const int32_t* q_sums, const uint8_t* w,
                                size_t row_bytes, int32_t* sums, size_t stride) {
  constexpr size_t kChunk = 4 * kGroups;  // columns
  constexpr size_t kPanelBytes = kGroups * kQuadBytes;
  alignas(32) uint8_t packed[4 * kPanelBytes], panel[kPanelBytes];
  const __m256i mask = _mm256_set1_epi8(3), full = _mm256_set1_epi32(-1);
  for (size_t i = 0; i < m; i++) {
    for (size_t n = 0; n < kBlockK; n++) sums[i * stride + n] = -q_sums[i];
  }
  for (size_t k = 0; k < count; k += kChunk) {
    for (size_t g = 0; g < kGroups; g++) {
      const uint8_t* column[4];  // past the last one, where q is 0, it comes again
      UNROLL for (size_t c = 0; c < 4; c++) {
        const size_t at = k + 4 * g + c;
        column[c] = w + (at < count ? at : count - 1) * row_bytes;
      }
      interleave_4<kPanelBytes>(column, packed + g * kQuadBytes);
    }
    for (size_t part = 0; part < 16; part++) {  // quarter part / 4, field part % 4
      const uint8_t* from = packed + part / 4 * kPanelBytes;
      const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(part % 4 * 2));
      for (size_t i = 0; i < kPanelBytes; i += 32) {
        const __m256i codes = _mm256_and_si256(_mm256_srl_epi16(load(from + i), shift), mask);
        _mm256_store_si256(reinterpret_cast<__m256i*>(panel + i), codes);
      }
      int32_t* to = sums + part % 4 * 64 + part / 4 * 16;
      for (size_t m0 = 0; m0 < m; m0 += kTall) {
        const size_t tall = m - m0 < kTall ? m - m0 : kTall;
        tiles[tall - 1](panel, q + m0 * q_stride + k, q_stride, full, full, to + m0 * stride,
                        stride);
      }
    }
  }
}

}  // namespace bitnet
