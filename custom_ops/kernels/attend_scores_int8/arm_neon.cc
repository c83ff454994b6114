#include "kernels/arm_neon_attend.h"
#include "kernels/attend_scores_int8/attend_scores_int8.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;  // bytes that a stream of keys is prefetched ahead

template <int R>
static inline void add_keys(int32x4_t acc[R][2], const int16_t* q, size_t padded, const int8_t* k,
                            size_t count) {
  int16x8_t key[2];
  load_16(k, count, key);
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < 2; j++) {
      const int16x8_t x = vld1q_s16(q + r * padded + 8 * j);
      acc[r][0] = vmlal_s16(acc[r][0], vget_low_s16(key[j]), vget_low_s16(x));
      acc[r][1] = vmlal_high_s16(acc[r][1], key[j], x);
    }
  }
}

template <int R>
static void score(size_t positions, size_t d, const int16_t* q, const int8_t* k,
                  const float* k_scale, const float* factor, const int8_t* next, float* scores,
                  size_t stride) {
  const size_t padded = (d + kPadInt8 - 1) / kPadInt8 * kPadInt8;
  for (size_t t = 0; t < positions; t++, k += d, next += d) {
    int32x4_t acc[R][2];
    UNROLL for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = vdupq_n_s32(0);
    size_t i = 0;
    for (; i + 16 <= d; i += 16) {
      if (i % 64 == 0) {
        PREFETCH(k + i + kAhead);
        PREFETCH(next + i);
      }
      add_keys<R>(acc, q + i, padded, k + i, 16);
    }
    if (i < d) add_keys<R>(acc, q + i, padded, k + i, d - i);
    UNROLL for (int r = 0; r < R; r++) {
      const int32_t sum = vaddvq_s32(vaddq_s32(acc[r][0], acc[r][1]));
      scores[r * stride + t] = static_cast<float>(sum) * k_scale[t] * factor[r];
    }
  }
}

}  // namespace bitnet

#define ISA(name) name##_neon
#include "kernels/attend_scores_int8/by_rows.inc"
