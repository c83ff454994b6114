#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/read/read.h"

namespace bitnet {

static constexpr size_t kAhead = 8192;

uint64_t read_avx2(const uint8_t* data, size_t bytes) {
  __m256i acc[4];
  UNROLL for (int j = 0; j < 4; j++) acc[j] = _mm256_setzero_si256();
  size_t i = 0;
  for (; i + 128 <= bytes; i += 128) {
    PREFETCH(data + i + kAhead);
    PREFETCH(data + i + 64 + kAhead);
    UNROLL for (int j = 0; j < 4; j++) acc[j] = _mm256_xor_si256(
        acc[j], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + i + 32 * j)));
  }
  const __m256i both =
      _mm256_xor_si256(_mm256_xor_si256(acc[0], acc[1]), _mm256_xor_si256(acc[2], acc[3]));
  uint64_t words[4];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), both);
  return words[0] ^ words[1] ^ words[2] ^ words[3] ^ read_scalar(data + i, bytes - i);
}

}  // namespace bitnet
