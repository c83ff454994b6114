#include "kernels/arm_neon_dotprod.h"

#include <string.h>

#include "kernels/attend_scores_int8/attend_scores_int8.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;  // bytes that a stream of keys is prefetched ahead

template <int R>
static inline void add_key(int32x4_t acc[4][2], int8x16_t key, const int8_t* q) {
  UNROLL for (int r = 0; r < R; r++) {
    const int8_t* x = q + r * 2 * kAttendDepth;
    acc[r][0] = vdotq_s32(acc[r][0], key, vld1q_s8(x));
    acc[r][1] = vdotq_s32(acc[r][1], key, vld1q_s8(x + 16));
  }
}

template <int R>
static void score(size_t positions, size_t d, const int16_t* q, const int8_t* k,
                  const float* k_scale, const float* factor, const int8_t* next, float* scores,
                  size_t stride) {
  static_assert(kPadInt8 % 16 == 0, "whole vectors of the query");
  const size_t padded = (d + kPadInt8 - 1) / kPadInt8 * kPadInt8;
  int8_t halves[R * 2 * kAttendDepth];
  float factors[4] = {0};
  for (int r = 0; r < R; r++) {
    split_row(q + r * padded, padded, halves + r * 2 * kAttendDepth);
    factors[r] = factor[r];
  }
  for (size_t t = 0; t < positions; t++, k += d, next += d) {
    int32x4_t acc[4][2];
    UNROLL for (int r = 0; r < 4; r++) acc[r][0] = acc[r][1] = vdupq_n_s32(0);
    size_t i = 0;
    ROLLED for (; i + 16 <= d; i += 16) {
      if (i % 64 == 0) {
        PREFETCH(k + i + kAhead);
        PREFETCH(next + i);
      }
      add_key<R>(acc, vld1q_s8(k + i), halves + 2 * i);
    }
    if (i < d) {
      int8_t rest[16] = {0};
      memcpy(rest, k + i, d - i);
      add_key<R>(acc, vld1q_s8(rest), halves + 2 * i);
    }
    int32x4_t sum[4];
    UNROLL for (int r = 0; r < 4; r++) sum[r] = join(acc[r][0], acc[r][1]);
    const float32x4_t four = vcvtq_f32_s32(add_lanes(sum[0], sum[1], sum[2], sum[3]));
    float y[4];
    vst1q_f32(y, vmulq_f32(vmulq_n_f32(four, k_scale[t]), vld1q_f32(factors)));
    UNROLL for (int r = 0; r < R; r++) scores[r * stride + t] = y[r];
  }
}

}  // namespace bitnet

#define ISA(name) name##_neon_dotprod
#include "kernels/attend_scores_int8/by_rows.inc"
