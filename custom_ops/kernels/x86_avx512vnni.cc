#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

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

void ternary_select_avx512vnni(size_t count, size_t known, size_t blocks, const int8_t* q,
                               int32_t q_sum, const uint8_t* w, const int32_t* index,
                               int32_t* sums) {
  const __m128i minus = _mm_set1_epi32(q_sum);
  const size_t row_bytes = blocks * kBlockBytes;
  for (size_t i = 0; i < count; i += 4) {
    const uint8_t *row[4], *ahead[4];
    for (size_t r = 0; r < 4; r++) {  // past the last row comes the last one again
      const size_t at = i + r < count ? i + r : count - 1;
      const size_t later = count + i + r < known ? count + i + r : known - 1;
      row[r] = w + static_cast<size_t>(index[at]) * row_bytes;
      ahead[r] = w + static_cast<size_t>(index[later]) * row_bytes;
    }
    const size_t here = count - i < 4 ? count - i : 4;
    const __m128i four = _mm_sub_epi32(ternary_rows<4>(blocks, q, row, ahead), minus);
    _mm_mask_storeu_epi32(sums + i, static_cast<__mmask8>((1u << here) - 1), four);
  }
  for (size_t i = 2 * count; i < known; i++) {
    const uint8_t* row = w + static_cast<size_t>(index[i]) * row_bytes;
    for (size_t at = 0; at < row_bytes; at += 64) prefetch(row + at);
  }
}

}  // namespace bitnet
