#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/read/read.h"

namespace bitnet {

// Bytes ahead: the best of 512 to 16384 on Cascade Lake, by up to a third.
static constexpr size_t kAhead = 8192;

uint64_t read_avx512vnni(const uint8_t* data, size_t bytes) {
  __m512i acc[4];
  UNROLL for (int j = 0; j < 4; j++) acc[j] = _mm512_setzero_si512();
  size_t i = 0;
  for (; i + 256 <= bytes; i += 256) {
    UNROLL for (int j = 0; j < 4; j++) {
      PREFETCH(data + i + 64 * j + kAhead);
      acc[j] = _mm512_xor_si512(acc[j], _mm512_loadu_si512(data + i + 64 * j));
    }
  }
  const __m512i both =
      _mm512_xor_si512(_mm512_xor_si512(acc[0], acc[1]), _mm512_xor_si512(acc[2], acc[3]));
  alignas(64) uint64_t words[8];
  _mm512_store_si512(words, both);
  uint64_t sum = 0;
  UNROLL for (int j = 0; j < 8; j++) sum ^= words[j];
  return sum ^ read_scalar(data + i, bytes - i);
}

}  // namespace bitnet
