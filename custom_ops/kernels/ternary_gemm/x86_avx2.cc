#include "kernels/x86_avx2.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ternary_gemm/ternary_gemm.h"

namespace bitnet {

static constexpr size_t kGroups = 32;  // between two widenings
static_assert(kGroups <= kMaddubs, "int16 lanes");

template <int M>
static void tile(size_t groups, const uint8_t* panel, const int8_t* q, size_t q_stride, __m256i low,
                 __m256i high, int32_t* sums, size_t stride) {
  __m256i acc[M][2];
  UNROLL for (int m = 0; m < M; m++) acc[m][0] = acc[m][1] = _mm256_setzero_si256();
  for (size_t g = 0; g < groups; g++, panel += kQuadBytes, q += 4) {
    const __m256i w0 = load(panel), w1 = load(panel + 32);
    UNROLL for (int m = 0; m < M; m++) {
      const __m256i x = _mm256_set1_epi32(load_4(q + m * q_stride));
      acc[m][0] = _mm256_add_epi16(acc[m][0], _mm256_maddubs_epi16(w0, x));
      acc[m][1] = _mm256_add_epi16(acc[m][1], _mm256_maddubs_epi16(w1, x));
    }
  }
  const __m256i ones = _mm256_set1_epi16(1);
  UNROLL for (int m = 0; m < M; m++) {
    int32_t* to = sums + m * stride;
    const __m256i s0 = _mm256_madd_epi16(acc[m][0], ones);
    const __m256i s1 = _mm256_madd_epi16(acc[m][1], ones);
    _mm256_maskstore_epi32(to, low, _mm256_add_epi32(s0, _mm256_maskload_epi32(to, low)));
    _mm256_maskstore_epi32(to + 8, high, _mm256_add_epi32(s1, _mm256_maskload_epi32(to + 8, high)));
  }
}

}  // namespace bitnet

#define ISA(name) name##_avx2
#include "kernels/ternary_gemm/x86_avx2.inc"
