#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ternary_gemv/ternary_gemv.h"

namespace bitnet {

using Lanes = __m512i;

// A mask alone takes a field out of a byte, which leaves 4^j times the code. Each field has its own
// accumulator, shifted once at the end. A lane adds 4 products a block.
static_assert(192ll * 128 * 4 * (kMaxK / kBlockK) <= INT32_MAX, "int32 lanes");

// Bytes ahead. Rows are read one after the other: from memory, one stream of addresses a thread is
// up to a tenth faster than four rows side by side.
static constexpr size_t kAhead = 4096;

// A row's products in 16 lanes, while the bytes at `ahead` are prefetched.
static inline __m512i ternary_row(size_t blocks, const int8_t* q, const uint8_t* row,
                                  const uint8_t* ahead) {
  __m512i acc[4];
  UNROLL for (int j = 0; j < 4; j++) acc[j] = _mm512_setzero_si512();
  const __m512i mask[4] = {_mm512_set1_epi8(0x03), _mm512_set1_epi8(0x0c), _mm512_set1_epi8(0x30),
                           _mm512_set1_epi8(static_cast<char>(0xc0))};
  for (size_t at = 0; at < blocks * kBlockBytes; at += kBlockBytes, q += kBlockK) {
    PREFETCH(ahead + at);
    const __m512i packed = _mm512_loadu_si512(row + at);
    UNROLL for (int j = 0; j < 4; j++) {
      acc[j] = _mm512_dpbusd_epi32(acc[j], _mm512_and_si512(packed, mask[j]),
                                   _mm512_loadu_si512(q + 64 * j));
    }
  }
  const __m512i low = _mm512_add_epi32(acc[0], _mm512_srai_epi32(acc[1], 2));
  const __m512i high = _mm512_add_epi32(_mm512_srai_epi32(acc[2], 4), _mm512_srai_epi32(acc[3], 6));
  return _mm512_add_epi32(low, high);
}

static inline __m128i fold(__m512i v) {
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

// The sums of up to 4 rows, less q_sum.
static inline void store_sums(size_t count, const __m512i* v, int32_t q_sum, int32_t* sums) {
  const __m128i all = _mm_hadd_epi32(_mm_hadd_epi32(fold(v[0]), fold(v[1])),
                                     _mm_hadd_epi32(fold(v[2]), fold(v[3])));
  _mm_mask_storeu_epi32(sums, static_cast<__mmask8>((1u << count) - 1),
                        _mm_sub_epi32(all, _mm_set1_epi32(q_sum)));
}

}  // namespace bitnet

#define ISA(name) name##_avx512vnni
#include "kernels/ternary_gemv/x86.inc"
