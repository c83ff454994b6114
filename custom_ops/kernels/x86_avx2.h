// Shared by the AVX2 files alone.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/format.h"
#include "platform/compiler.h"

namespace bitnet {

// maddubs adds two products code * q to an int16 lane. Each is at least -3 * 128, as code 3 must
// not saturate either, so a lane takes 42 maddubs before it is widened.
static constexpr size_t kMaddubs = 32768 / (2 * 3 * 128);

static inline __m256i load(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

static inline int32_t load_4(const int8_t* p) {
  int32_t word;
  memcpy(&word, p, 4);
  return word;
}

// For many activation rows, panels of 16 weight rows are unpacked to [k / 4][row][k % 4]: one
// vector holds 4 weights of each of 8 rows.
static constexpr size_t kRows = 16;
static constexpr size_t kQuadBytes = 4 * kRows;

static inline void transpose_8x8(__m256i v[8]) {
  __m256i t[8];
  UNROLL for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
  }
  __m256i u[8];
  UNROLL for (int i = 0; i < 8; i += 4) {
    u[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    u[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    u[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    u[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  UNROLL for (int i = 0; i < 4; i++) {
    v[i] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x20);
    v[i + 4] = _mm256_permute2x128_si256(u[i], u[i + 4], 0x31);
  }
}

// One block of 8 rows; rows past `rows` repeat the last one.
static NOINLINE void unpack_block(const uint8_t* w, size_t row_bytes, size_t rows, uint8_t* panel) {
  const __m256i mask = _mm256_set1_epi8(3);
  UNROLL for (size_t half = 0; half < 2; half++) {
    __m256i v[8];
    UNROLL for (size_t i = 0; i < 8; i++) {
      v[i] = load(w + (i < rows ? i : rows - 1) * row_bytes + 32 * half);
    }
    transpose_8x8(v);
    UNROLL for (size_t i = 0; i < 8; i++) {
      __m256i packed = v[i];
      UNROLL for (size_t j = 0; j < 4; j++) {
        uint8_t* to = panel + (16 * j + 8 * half + i) * kQuadBytes;
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_and_si256(packed, mask));
        packed = _mm256_srli_epi16(packed, 2);
      }
    }
  }
}

}  // namespace bitnet
