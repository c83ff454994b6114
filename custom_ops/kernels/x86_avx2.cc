#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernel.h"
#include "x86_avx2.h"

namespace bitnet {

static constexpr size_t kAhead = 8192;

static inline void prefetch(const uint8_t* p) {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
}

static inline __m128i fold(__m256i v) {
  return _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

static constexpr size_t kGemvBlocks = 5;  // 8 maddubs a block
static_assert(8 * kGemvBlocks <= kMaddubs, "int16 lanes");

// Sums of R rows, R at most 4, lanes R to 3 are zero; those at `ahead` are prefetched.
template <int R>
static inline __m128i ternary_rows(size_t blocks, const int8_t* q, const uint8_t* const* row,
                                   const uint8_t* const* ahead) {
  const __m256i mask = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
  __m256i wide[R];
  UNROLL for (int r = 0; r < R; r++) wide[r] = _mm256_setzero_si256();
  for (size_t begin = 0; begin < blocks; begin += kGemvBlocks) {
    const size_t end = blocks - begin < kGemvBlocks ? blocks : begin + kGemvBlocks;
    __m256i acc[R];
    UNROLL for (int r = 0; r < R; r++) acc[r] = _mm256_setzero_si256();
    for (size_t half = 2 * begin; half < 2 * end; half++) {
      const int8_t* x = q + half / 2 * kBlockK + half % 2 * 32;
      UNROLL for (int r = 0; r < R; r++) {
        if (half % 2 == 0) prefetch(ahead[r] + half * 32);
        __m256i packed = load(row[r] + half * 32);
        UNROLL for (int j = 0; j < 4; j++) {
          const __m256i codes = _mm256_and_si256(packed, mask);
          acc[r] = _mm256_add_epi16(acc[r], _mm256_maddubs_epi16(codes, load(x + 64 * j)));
          packed = _mm256_srli_epi16(packed, 2);
        }
      }
    }
    UNROLL for (int r = 0; r < R; r++) {
      wide[r] = _mm256_add_epi32(wide[r], _mm256_madd_epi16(acc[r], ones));
    }
  }
  __m128i sums[4] = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128(),
                     _mm_setzero_si128()};
  UNROLL for (int r = 0; r < R; r++) sums[r] = fold(wide[r]);
  return _mm_hadd_epi32(_mm_hadd_epi32(sums[0], sums[1]), _mm_hadd_epi32(sums[2], sums[3]));
}

void ternary_gemv_avx2(size_t rows, size_t blocks, const int8_t* q, int32_t q_sum, const uint8_t* w,
                       int32_t* sums) {
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

void ternary_select_avx2(size_t count, size_t known, size_t blocks, const int8_t* q,
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
    alignas(16) int32_t lanes[4];
    _mm_store_si128(reinterpret_cast<__m128i*>(lanes), four);
    memcpy(sums + i, lanes, 4 * here);
  }
  for (size_t i = 2 * count; i < known; i++) {
    const uint8_t* row = w + static_cast<size_t>(index[i]) * row_bytes;
    for (size_t at = 0; at < row_bytes; at += 64) prefetch(row + at);
  }
}

}  // namespace bitnet
