#include "kernels/attend_values/ahead.h"
#include "kernels/attend_values/attend_values.h"
#include "kernels/x86_avx2_attend.h"

namespace bitnet {

static inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

// sums += weights x R heads by D vectors of 4 elements, the last of which has `last`.
template <int R, int D, typename Cache>
static inline void blend(size_t positions, size_t d, const double* weights, size_t stride,
                         const Cache* v, size_t last, double* sums, size_t s_stride) {
  __m256d acc[R][D];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < D; j++) acc[r][j] = _mm256_loadu_pd(sums + r * s_stride + 4 * j);
  }
  for (size_t t = 0; t < positions; t++, v += d) {
    __m256d value[D];
    UNROLL for (int j = 0; j < D; j++) value[j] = load(v + 4 * j, j == D - 1 ? last : 4);
    UNROLL for (int r = 0; r < R; r++) {
      const __m256d weight = _mm256_set1_pd(weights[r * stride + t]);
      UNROLL for (int j = 0; j < D; j++) acc[r][j] = _mm256_fmadd_pd(weight, value[j], acc[r][j]);
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < D; j++) _mm256_storeu_pd(sums + r * s_stride + 4 * j, acc[r][j]);
  }
}

template <int R, typename Cache>
static void blend_rows(size_t positions, size_t width, size_t d, const double* weights,
                       size_t stride, const Cache* v, double* sums, size_t s_stride) {
  Ahead<Cache> ahead = {v + kAttendAhead * d, 0, width, d};
  for (size_t i = 0; i < width; i += 8) {
    for (size_t line = 0; line < positions; line += 2) ahead.next();  // all lines
    if (width - i > 4)
      blend<R, 2>(positions, d, weights, stride, v + i, smaller(width - i - 4, 4), sums + i,
                  s_stride);
    else
      blend<R, 1>(positions, d, weights, stride, v + i, width - i, sums + i, s_stride);
  }
}

}  // namespace bitnet

#define ISA(name) name##_avx2
#include "kernels/attend_values/by_rows.inc"
