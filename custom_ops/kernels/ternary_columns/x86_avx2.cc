#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/apart.h"
#include "kernels/ternary_columns/ternary_columns.h"

namespace bitnet {

// This many columns go over the sums together, two by two, while those of a later chunk are
// fetched.
static constexpr size_t kChunk = 8, kNext = 4;
// An int16 lane takes one maddubs for each two columns, at least 2 * 3 * -128, code 3 included.
static_assert(kChunk / 2 * 2 * 3 * 128 <= 32768, "int16 lanes");

static inline __m256i load(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

static inline void add_to(int32_t* sums, __m128i v) {
  __m256i* to = reinterpret_cast<__m256i*>(sums);
  _mm256_storeu_si256(to, _mm256_add_epi32(load(to), _mm256_cvtepi16_epi32(v)));
}

// sums += half a block, at `at`, of `twos` times 2 columns.
static void add_half(size_t twos, const uint8_t* const* column, size_t at, const int16_t* q,
                     int32_t* sums) {
  const __m256i mask = _mm256_set1_epi8(3);
  __m256i acc[4][2];  // element e of half l of vector v belongs to byte 16 l + 8 v + e
  UNROLL for (int i = 0; i < 8; i++) acc[i / 2][i % 2] = _mm256_setzero_si256();
  for (size_t g = 0; g < twos; g++, column += 2) {
    const __m256i a = load(column[0] + at), b = load(column[1] + at);
    const __m256i x = _mm256_set1_epi16(q[g]);
    __m256i packed[2] = {_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)};
    UNROLL for (int j = 0; j < 4; j++) {
      UNROLL for (int v = 0; v < 2; v++) {
        const __m256i codes = _mm256_and_si256(packed[v], mask);
        acc[j][v] = _mm256_add_epi16(acc[j][v], _mm256_maddubs_epi16(codes, x));
        packed[v] = _mm256_srli_epi16(packed[v], 2);
      }
    }
  }
  UNROLL for (int i = 0; i < 8; i++) {
    int32_t* to = sums + i / 2 * 64 + i % 2 * 8;
    add_to(to, _mm256_castsi256_si128(acc[i / 2][i % 2]));
    add_to(to + 16, _mm256_extracti128_si256(acc[i / 2][i % 2], 1));
  }
}

void ternary_columns_avx2(size_t count, size_t blocks, const int32_t* index, const int8_t* q,
                          const uint8_t* w, int32_t* sums) {
  const size_t row = blocks * kBlockBytes;
  int32_t q_sum = 0;
  for (size_t i = 0; i < count; i++) q_sum += q[i];
  for (size_t n = 0; n < blocks * kBlockK; n++) sums[n] = -q_sum;
  const uint8_t *column[kChunk], *ahead[kChunk];
  int16_t pair[kChunk / 2];
  for (size_t i = 0; i < count; i += kChunk) {
    // Past the last column it is repeated, with q = 0.
    for (size_t c = 0; c < kChunk; c++) {
      const size_t at = i + c < count ? i + c : count - 1;
      const size_t later = at + kNext * kChunk < count ? at + kNext * kChunk : count - 1;
      column[c] = w + static_cast<size_t>(index[at]) * row;
      ahead[c] = w + static_cast<size_t>(index[later]) * row;
    }
    const size_t here = count - i < kChunk ? count - i : kChunk, twos = (here + 1) / 2;
    for (size_t g = 0; g < twos; g++) {
      const int high = 2 * g + 1 < here ? q[i + 2 * g + 1] : 0;
      pair[g] = static_cast<int16_t>(high * 256 + static_cast<uint8_t>(q[i + 2 * g]));
    }
    for (size_t n = 0; n < blocks; n++) {
      const size_t b = apart(n, blocks), at = b * kBlockBytes;
      for (size_t c = 0; c < kChunk; c++) {
        PREFETCH_FAR(ahead[c] + n * kBlockBytes);
      }
      add_half(twos, column, at, pair, sums + b * kBlockK);
      add_half(twos, column, at + 32, pair, sums + b * kBlockK + 32);
    }
  }
}

}  // namespace bitnet
