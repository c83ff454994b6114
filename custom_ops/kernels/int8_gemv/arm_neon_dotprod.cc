#include "kernels/arm_neon_dotprod.h"

#include <string.h>

#include "kernels/int8_gemv/int8_gemv.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;

// q = 256 * high + low. Both are int8, since |q| <= 32512, and have sums of their own. A lane takes
// a quarter of K products.
static_assert(128ll * 128 * (kMaxK / 4) <= INT32_MAX, "int32 lanes");

static inline void int8_step(int32x4_t acc[2], const int8x16_t x[2], const uint8_t* w) {
  const int8x16_t bytes = vreinterpretq_s8_u8(vld1q_u8(w));
  acc[0] = vdotq_s32(acc[0], bytes, x[0]);
  acc[1] = vdotq_s32(acc[1], bytes, x[1]);
}

template <int R>
static void int8_rows(size_t k, const int16_t* q, const uint8_t* w, int64_t* sums) {
  int32x4_t acc[R][2];  // of the low and the high bytes
  UNROLL for (int r = 0; r < R; r++) acc[r][0] = acc[r][1] = vdupq_n_s32(0);
  int8x16_t x[2];
  size_t i = 0;
  for (; i + 16 <= k; i += 16) {
    split(q + i, x);
    PREFETCH(w + i / 16 % R * k + i + kAhead);  // one row's line in each turn
    UNROLL for (int r = 0; r < R; r++) int8_step(acc[r], x, w + r * k + i);
  }
  if (i < k) {
    split(q + i, x);
    UNROLL for (int r = 0; r < R; r++) {
      uint8_t rest[16] = {0};
      memcpy(rest, w + r * k + i, k - i);
      int8_step(acc[r], x, rest);
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    sums[r] = vaddlvq_s32(acc[r][0]) + 256 * vaddlvq_s32(acc[r][1]);
  }
}

}  // namespace bitnet

#define ISA(name) name##_neon_dotprod
#include "kernels/int8_gemv/by_rows.inc"
