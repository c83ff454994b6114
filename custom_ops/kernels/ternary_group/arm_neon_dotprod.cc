#include "kernels/arm_neon_dotprod.h"

#include <string.h>

#include "kernels/ternary_group/ternary_group.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;

// A vector of products.
using Sum = int32x4_t;
static inline Sum zero_sum() { return vdupq_n_s32(0); }
static inline Sum add_codes(Sum sum, uint8x16_t codes, int8x16_t q) { return dot(sum, codes, q); }
static inline int32x4_t four_sums(Sum a, Sum b, Sum c, Sum d) { return add_lanes(a, b, c, d); }

static inline void multiply_group(size_t tall, const uint8_t* panel, size_t half, const int8_t* q,
                                  size_t q_stride, int32_t* sums) {
  kTiles[tall - 1](kGroupK, panel + half * kGroupK * kRows, q, q_stride, sums, kRows);
}

}  // namespace bitnet

#define ISA(name) name##_neon_dotprod
#include "kernels/ternary_group/arm.inc"
