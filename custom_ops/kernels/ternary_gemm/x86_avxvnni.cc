#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ternary_gemm/ternary_gemm.h"
#include "kernels/x86_avx2.h"

namespace bitnet {

static constexpr size_t kGroups = 64;  // a block; no sum of int32 overflows

template <int M>
static void tile(size_t groups, const uint8_t* panel, const int8_t* q, size_t q_stride, __m256i low,
                 __m256i high, int32_t* sums, size_t stride) {
  __m256i acc[M][2];
  UNROLL for (int m = 0; m < M; m++) {
    acc[m][0] = _mm256_maskload_epi32(sums + m * stride, low);
    acc[m][1] = _mm256_maskload_epi32(sums + m * stride + 8, high);
  }
  for (size_t g = 0; g < groups; g++, panel += kQuadBytes, q += 4) {
    const __m256i w0 = load(panel), w1 = load(panel + 32);
    UNROLL for (int m = 0; m < M; m++) {
      const __m256i x = _mm256_set1_epi32(load_4(q + m * q_stride));
      acc[m][0] = _mm256_dpbusd_avx_epi32(acc[m][0], w0, x);
      acc[m][1] = _mm256_dpbusd_avx_epi32(acc[m][1], w1, x);
    }
  }
  UNROLL for (int m = 0; m < M; m++) {
    _mm256_maskstore_epi32(sums + m * stride, low, acc[m][0]);
    _mm256_maskstore_epi32(sums + m * stride + 8, high, acc[m][1]);
  }
}

}  // namespace bitnet

#define ISA(name) name##_avxvnni
#include "kernels/ternary_gemm/x86_avx2.inc"
