#include "kernels/arm_neon_dotprod.h"

#include "kernels/level_gemv/level_gemv.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;

template <int Bits>
static inline int32x4_t block_sums(const int8x16_t codes[8], const int8_t* q) {
  int32x4_t sum = vdupq_n_s32(0);
  UNROLL for (int t = 0; t < 8; t++) sum = vdotq_s32(sum, codes[t], vld1q_s8(q + 32 * t));
  return sum;
}

}  // namespace bitnet

#define ISA(name) name##_neon_dotprod
#include "kernels/level_gemv/arm.inc"
