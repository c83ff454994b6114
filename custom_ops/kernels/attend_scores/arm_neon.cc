#include "kernels/arm_neon_attend.h"
#include "kernels/attend_scores/attend_scores.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;  // bytes that a stream of keys is prefetched ahead

template <int R, typename Cache>
static inline void add_scores(float64x2_t acc[R][4], const double* q, size_t padded, const Cache* k,
                              size_t count) {
  float64x2_t key[4];
  load_8(k, count, key);
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < 4; j++) {
      acc[r][j] = vfmaq_f64(acc[r][j], vld1q_f64(q + r * padded + 2 * j), key[j]);
    }
  }
}

template <int R, typename Cache>
static void score_rows(size_t positions, size_t d, const double* q, const Cache* k, float root,
                       float* scores, size_t stride) {
  const size_t padded = (d + kPadHead - 1) / kPadHead * kPadHead;
  for (size_t t = 0; t < positions; t++, k += d) {
    float64x2_t acc[R][4];
    UNROLL for (int i = 0; i < 4 * R; i++) acc[i / 4][i % 4] = vdupq_n_f64(0);
    size_t i = 0;
    for (; i + 8 <= d; i += 8) {
      PREFETCH(k + i + kAhead / sizeof(Cache));
      add_scores<R>(acc, q + i, padded, k + i, 8);
    }
    if (i < d) add_scores<R>(acc, q + i, padded, k + i, d - i);
    UNROLL for (int r = 0; r < R; r++) {  // lanes +4, +2, +1
      const float64x2_t* a = acc[r];
      const float64x2_t two = vaddq_f64(vaddq_f64(a[0], a[2]), vaddq_f64(a[1], a[3]));
      scores[r * stride + t] = static_cast<float>(vpaddd_f64(two)) / root;
    }
  }
}

}  // namespace bitnet

#define ISA(name) name##_neon
#include "kernels/attend_scores/by_rows.inc"
