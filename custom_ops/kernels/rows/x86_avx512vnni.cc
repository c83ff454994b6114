#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/rows/rows.h"

namespace bitnet {

static inline void add_products(size_t count, const float* x, const void* w, const uint8_t* next,
                                const float* out, double* lanes) {
  const float* weight = static_cast<const float*>(w);
  __m512d low = _mm512_loadu_pd(lanes), high = _mm512_loadu_pd(lanes + 8);
  for (size_t i = 0; i < count; i += 16) {
    PREFETCH(next + i * sizeof(float));
    PREFETCH(out + i);
    const __m512d a = _mm512_cvtps_pd(_mm256_loadu_ps(x + i));
    const __m512d b = _mm512_cvtps_pd(_mm256_loadu_ps(x + i + 8));
    low = _mm512_fmadd_pd(a, _mm512_cvtps_pd(_mm256_loadu_ps(weight + i)), low);
    high = _mm512_fmadd_pd(b, _mm512_cvtps_pd(_mm256_loadu_ps(weight + i + 8)), high);
  }
  _mm512_storeu_pd(lanes, low);
  _mm512_storeu_pd(lanes + 8, high);
}

}  // namespace bitnet

#define ISA(name) name##_avx512vnni
#include "kernels/rows/rows.inc"
