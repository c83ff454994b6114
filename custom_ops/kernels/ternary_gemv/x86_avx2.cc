#include "kernels/x86_avx2.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/ternary_gemv/ternary_gemv.h"

namespace bitnet {

using Lanes = __m256i;

// Bytes ahead. Rows are read one after the other: from memory, one stream of addresses a thread is
// faster than four rows side by side.
static constexpr size_t kAhead = 4096;

static constexpr size_t kGemvBlocks = 10;  // 8 maddubs a block, into two sums
static_assert(4 * kGemvBlocks <= kMaddubs, "int16 lanes");

// A row's products in 8 lanes, while the bytes at `ahead` are prefetched.
static inline __m256i ternary_row(size_t blocks, const int8_t* q, const uint8_t* row,
                                  const uint8_t* ahead) {
  const __m256i mask = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
  __m256i wide = _mm256_setzero_si256();
  for (size_t begin = 0; begin < blocks; begin += kGemvBlocks) {
    const size_t end = blocks - begin < kGemvBlocks ? blocks : begin + kGemvBlocks;
    __m256i acc[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (size_t block = begin; block < end; block++) {
      PREFETCH(ahead + block * kBlockBytes);
      UNROLL for (int half = 0; half < 2; half++) {
        const int8_t* x = q + block * kBlockK + half * 32;
        __m256i packed = load(row + block * kBlockBytes + half * 32);
        UNROLL for (int j = 0; j < 4; j++) {
          const __m256i codes = _mm256_and_si256(packed, mask);
          acc[half] = _mm256_add_epi16(acc[half], _mm256_maddubs_epi16(codes, load(x + 64 * j)));
          packed = _mm256_srli_epi16(packed, 2);
        }
      }
    }
    UNROLL for (int half = 0; half < 2; half++) {
      wide = _mm256_add_epi32(wide, _mm256_madd_epi16(acc[half], ones));
    }
  }
  return wide;
}

static inline __m128i fold(__m256i v) {
  return _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

// The sums of up to 4 rows, less q_sum.
static inline void store_sums(size_t count, const __m256i* v, int32_t q_sum, int32_t* sums) {
  const __m128i all = _mm_hadd_epi32(_mm_hadd_epi32(fold(v[0]), fold(v[1])),
                                     _mm_hadd_epi32(fold(v[2]), fold(v[3])));
  alignas(16) int32_t lanes[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(lanes), _mm_sub_epi32(all, _mm_set1_epi32(q_sum)));
  memcpy(sums, lanes, 4 * count);
}

}  // namespace bitnet

#define ISA(name) name##_avx2
#include "kernels/ternary_gemv/x86.inc"
