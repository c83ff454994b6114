#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/select/select.h"

namespace bitnet {

// A whole vector is stored: to store under a mask is slow on some CPUs.
static inline size_t put(__mmask16 taken, __m512i first, int32_t* index) {
  const __m512i places = _mm512_add_epi32(
      first, _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  _mm512_storeu_si512(index, _mm512_maskz_compress_epi32(taken, places));
  return COUNT_BITS(taken);
}

static inline __mmask16 first_of(size_t left) {
  return left < 16 ? static_cast<__mmask16>((1u << left) - 1) : __mmask16{0xffff};
}

size_t select_values_avx512vnni(size_t count, const int8_t* q, int32_t* index, int8_t* values) {
  size_t taken = 0;
  for (size_t i = 0; i < count; i += 16) {
    const __m512i x = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(first_of(count - i), q + i));
    const __mmask16 some = _mm512_test_epi32_mask(x, x);
    const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_maskz_compress_epi32(some, x));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(values + taken), bytes);
    taken += put(some, _mm512_set1_epi32(static_cast<int32_t>(i)), index + taken);
  }
  return taken;
}

size_t select_open_avx512vnni(size_t m, size_t count, const float* y, size_t stride,
                              int32_t* index) {
  const __m512 zero = _mm512_setzero_ps();
  size_t taken = 0;
  for (size_t n = 0; n < count; n += 16) {
    const __mmask16 here = first_of(count - n);
    __mmask16 open = 0;
    for (size_t i = 0; i < m; i++) {
      // The second operand is kept where it is not a number.
      const __m512 gate = _mm512_max_ps(zero, _mm512_maskz_loadu_ps(here, y + i * stride + n));
      open |= _mm512_cmp_ps_mask(_mm512_mul_ps(gate, gate), zero, _CMP_NEQ_UQ);
    }
    taken += put(open, _mm512_set1_epi32(static_cast<int32_t>(n)), index + taken);
  }
  return taken;
}

}  // namespace bitnet
