#include "kernels/arm_neon.h"

#include "kernels/read/read.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;

uint64_t read_neon(const uint8_t* data, size_t bytes) {
  uint8x16_t acc[4];
  UNROLL for (int j = 0; j < 4; j++) acc[j] = vdupq_n_u8(0);
  size_t i = 0;
  for (; i + 64 <= bytes; i += 64) {
    PREFETCH(data + i + kAhead);
    UNROLL for (int j = 0; j < 4; j++) acc[j] = veorq_u8(acc[j], vld1q_u8(data + i + 16 * j));
  }
  const uint8x16_t all = veorq_u8(veorq_u8(acc[0], acc[1]), veorq_u8(acc[2], acc[3]));
  const uint64x2_t words = vreinterpretq_u64_u8(all);
  return vgetq_lane_u64(words, 0) ^ vgetq_lane_u64(words, 1) ^ read_scalar(data + i, bytes - i);
}

}  // namespace bitnet
