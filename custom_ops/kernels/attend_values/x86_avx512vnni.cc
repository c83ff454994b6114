#include "kernels/attend_values/ahead.h"
#include "kernels/attend_values/attend_values.h"
#include "kernels/x86_avx512vnni_attend.h"

namespace bitnet {

static inline __mmask8 first(size_t count) { return static_cast<__mmask8>((1u << count) - 1); }

// sums += weights x R heads by 32 elements.
template <int R, typename Cache>
static inline void blend(size_t positions, size_t d, const double* weights, size_t stride,
                         const Cache* v, Ahead<Cache>* all_ahead, double* sums, size_t s_stride) {
  Ahead<Cache> ahead = *all_ahead;
  __m512d acc[R][4];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < 4; j++) acc[r][j] = _mm512_loadu_pd(sums + r * s_stride + 8 * j);
  }
  const bool few = positions <= kAttendAhead;
  for (size_t t = 0; t < positions; t++, v += d) {
    if (few) {
      ahead.next();
      ahead.next();
    }
    __m512d value[4];
    UNROLL for (int j = 0; j < 4; j++) value[j] = load(v + 8 * j);
    UNROLL for (int r = 0; r < R; r++) {
      const __m512d weight = _mm512_set1_pd(weights[r * stride + t]);
      UNROLL for (int j = 0; j < 4; j++) acc[r][j] = _mm512_fmadd_pd(weight, value[j], acc[r][j]);
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < 4; j++) _mm512_storeu_pd(sums + r * s_stride + 8 * j, acc[r][j]);
  }
  *all_ahead = ahead;
}

// The same for the elements of the mask.
template <int R, typename Cache>
static inline void blend_few(size_t positions, size_t d, const double* weights, size_t stride,
                             const Cache* v, __mmask8 mask, double* sums, size_t s_stride) {
  __m512d acc[R];
  UNROLL for (int r = 0; r < R; r++) acc[r] = _mm512_loadu_pd(sums + r * s_stride);
  for (size_t t = 0; t < positions; t++, v += d) {
    const __m512d value = load(v, mask);
    UNROLL for (int r = 0; r < R; r++) {
      acc[r] = _mm512_fmadd_pd(_mm512_set1_pd(weights[r * stride + t]), value, acc[r]);
    }
  }
  UNROLL for (int r = 0; r < R; r++) _mm512_storeu_pd(sums + r * s_stride, acc[r]);
}

template <int R, typename Cache>
static void blend_rows(size_t positions, size_t width, size_t d, const double* weights,
                       size_t stride, const Cache* v, double* sums, size_t s_stride) {
  Ahead<Cache> ahead = {v + kAttendAhead * d, 0, width, d};
  size_t i = 0;
  for (; i + 32 <= width; i += 32) {
    blend<R>(positions, d, weights, stride, v + i, &ahead, sums + i, s_stride);
  }
  for (; i < width; i += 8) {
    const __mmask8 mask = width - i < 8 ? first(width - i) : static_cast<__mmask8>(0xff);
    blend_few<R>(positions, d, weights, stride, v + i, mask, sums + i, s_stride);
  }
}

}  // namespace bitnet

#define ISA(name) name##_avx512vnni
#include "kernels/attend_values/by_rows.inc"
