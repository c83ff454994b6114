#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/attend_unpack_int4/attend_unpack_int4.h"

namespace bitnet {

static inline void put(uint8x16_t codes, int multiplier, int8_t* x) {
  const int8x16_t c = vsubq_s8(vreinterpretq_s8_u8(codes), vdupq_n_s8(8));
  const int8x8_t m = vdup_n_s8(static_cast<int8_t>(multiplier + 2));
  const int16x8_t low = vmull_s8(vget_low_s8(c), m), high = vmull_s8(vget_high_s8(c), m);
  vst1q_s8(x, vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
}

void attend_unpack_int4_neon(size_t positions, size_t d, const uint8_t* packed, int8_t* x) {
  for (size_t t = 0; t < positions; t++, x += d) {
    for (size_t i = 0; i < d; i += kCacheBlock, packed += kCacheBytes) {
      const int m = packed[kCacheGroup];
      const uint8x16_t pairs = vld1q_u8(packed);
      put(vandq_u8(pairs, vdupq_n_u8(15)), m & 15, x + i);
      put(vshrq_n_u8(pairs, 4), m >> 4, x + i + kCacheGroup);
    }
  }
}

}  // namespace bitnet
