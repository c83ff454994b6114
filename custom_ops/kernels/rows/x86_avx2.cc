#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/rows/rows.h"

namespace bitnet {

static inline void add_products(size_t count, const float* x, const void* w, const uint8_t* next,
                                const float* out, double* lanes) {
  const float* weight = static_cast<const float*>(w);
  __m256d sums[4];
  UNROLL for (int j = 0; j < 4; j++) sums[j] = _mm256_loadu_pd(lanes + 4 * j);
  for (size_t i = 0; i < count; i += 16) {
    PREFETCH(next + i * sizeof(float));
    PREFETCH(out + i);
    UNROLL for (int j = 0; j < 4; j++) {
      const __m256d a = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4 * j));
      const __m256d b = _mm256_cvtps_pd(_mm_loadu_ps(weight + i + 4 * j));
      sums[j] = _mm256_fmadd_pd(a, b, sums[j]);
    }
  }
  UNROLL for (int j = 0; j < 4; j++) _mm256_storeu_pd(lanes + 4 * j, sums[j]);
}

}  // namespace bitnet

#define ISA(name) name##_avx2
#include "kernels/rows/rows.inc"
