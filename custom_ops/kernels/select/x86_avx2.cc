#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/select/select.h"

namespace bitnet {

// Calls take(i) for each set bit.
template <typename Take>
static inline void each_bit(uint32_t bits, const Take& take) {
  for (; bits; bits &= bits - 1) take(LOWEST_BIT(bits));
}

size_t select_values_avx2(size_t count, const int8_t* q, int32_t* index, int8_t* values) {
  size_t taken = 0, i = 0;
  const auto take = [&](size_t at) {
    index[taken] = static_cast<int32_t>(at);
    values[taken++] = q[at];
  };
  for (; i + 32 <= count; i += 32) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q + i));
    const __m256i zeros = _mm256_cmpeq_epi8(x, _mm256_setzero_si256());
    each_bit(~static_cast<uint32_t>(_mm256_movemask_epi8(zeros)), [&](size_t b) { take(i + b); });
  }
  for (; i < count; i++) {
    if (q[i]) take(i);
  }
  return taken;
}

size_t select_open_avx2(size_t m, size_t count, const float* y, size_t stride, int32_t* index) {
  const __m256 zero = _mm256_setzero_ps();
  size_t taken = 0;
  for (size_t n = 0; n < count; n += 8) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const int32_t left = static_cast<int32_t>(count - n < 8 ? count - n : 8);
    const __m256i here = _mm256_cmpgt_epi32(_mm256_set1_epi32(left), lanes);
    __m256 open = zero;
    for (size_t i = 0; i < m; i++) {
      // The second operand is kept where it is not a number.
      const __m256 gate = _mm256_max_ps(zero, _mm256_maskload_ps(y + i * stride + n, here));
      open = _mm256_or_ps(open, _mm256_cmp_ps(_mm256_mul_ps(gate, gate), zero, _CMP_NEQ_UQ));
    }
    each_bit(static_cast<uint32_t>(_mm256_movemask_ps(open)),
             [&](size_t b) { index[taken++] = static_cast<int32_t>(n + b); });
  }
  return taken;
}

}  // namespace bitnet
