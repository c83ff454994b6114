#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/attend_unpack_int4/attend_unpack_int4.h"

namespace bitnet {

static constexpr size_t kAhead = 2048;  // bytes that a stream of rows is prefetched ahead

static inline __m256i times(__m256i codes, int multiplier) {
  return _mm256_mullo_epi16(_mm256_sub_epi16(codes, _mm256_set1_epi16(8)),
                            _mm256_set1_epi16(static_cast<short>(multiplier + 2)));
}

void attend_unpack_int4_avx2(size_t positions, size_t d, const uint8_t* packed, int8_t* x) {
  for (size_t t = 0; t < positions; t++, x += d) {
    PREFETCH(packed + kAhead);
    for (size_t i = 0; i < d; i += kCacheBlock, packed += kCacheBytes) {
      const int m = packed[kCacheGroup];
      const __m256i pairs =
          _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(packed)));
      const __m256i low = times(_mm256_and_si256(pairs, _mm256_set1_epi16(15)), m & 15);
      const __m256i high = times(_mm256_srli_epi16(pairs, 4), m >> 4);
      const __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(x + i), both);
    }
  }
}

}  // namespace bitnet
