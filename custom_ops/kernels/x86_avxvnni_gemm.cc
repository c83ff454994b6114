#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel.h"
#include "x86_avx2.h"
#include "x86_avx2_gemm.h"

namespace bitnet {

static constexpr size_t kGroups = 64;  // a block

// 12 sums, two vectors of weights and one of activations: 15 of the 16 registers.
template <int M>
static void tile(const uint8_t* panel, const int8_t* q, size_t q_stride, __m256i low, __m256i high,
                 int32_t* sums, size_t stride) {
  __m256i acc[M][2];
  UNROLL for (int m = 0; m < M; m++) {
    acc[m][0] = _mm256_maskload_epi32(sums + m * stride, low);
    acc[m][1] = _mm256_maskload_epi32(sums + m * stride + 8, high);
  }
  for (size_t g = 0; g < kGroups; g++, panel += kQuadBytes, q += 4) {
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

static const Tile kTiles[] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

void ternary_gemm_avxvnni(size_t m, size_t n, size_t blocks, const int8_t* q, const int32_t* q_sums,
                          const uint8_t* w, int32_t* sums, size_t stride) {
  gemm<kGroups>(kTiles, m, n, blocks, q, q_sums, w, sums, stride);
}

void ternary_columns_gemm_avxvnni(size_t m, size_t count, const int8_t* q, size_t q_stride,
                                  const int32_t* q_sums, const uint8_t* w, size_t row_bytes,
                                  int32_t* sums, size_t stride) {
  columns_gemm<kGroups>(kTiles, m, count, q, q_stride, q_sums, w, row_bytes, sums, stride);
}

}  // namespace bitnet
