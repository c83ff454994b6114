#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/rows/rows.h"

namespace bitnet {

static inline void add_squares(size_t count, const float* x, const uint8_t* next, const float* out,
                               double* lanes) {
  __m256d sums[4];
  UNROLL for (int j = 0; j < 4; j++) sums[j] = _mm256_loadu_pd(lanes + 4 * j);
  for (size_t i = 0; i < count; i += 16) {
    PREFETCH(next + i * sizeof(float));
    PREFETCH(out + i);
    UNROLL for (int j = 0; j < 4; j++) {
      const __m256d wide = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4 * j));
      sums[j] = _mm256_fmadd_pd(wide, wide, sums[j]);
    }
  }
  UNROLL for (int j = 0; j < 4; j++) _mm256_storeu_pd(lanes + 4 * j, sums[j]);
}

}  // namespace bitnet

#define ISA(name) name##_avx2
#include "kernels/rows/rows.inc"
