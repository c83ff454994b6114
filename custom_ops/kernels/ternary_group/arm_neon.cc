#include "kernels/arm_neon.h"

#include <string.h>

#include "kernels/ternary_group/ternary_group.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;

// A vector of products: 4 parts of 2 fields for each group.
using Sum = int16x8_t;
static_assert(16 <= kProducts, "int16 lanes");
static inline Sum zero_sum() { return vdupq_n_s16(0); }
static inline Sum add_codes(Sum sum, uint8x16_t codes, int8x16_t q) {
  return add_products(sum, codes, q);
}
static inline int32x4_t four_sums(Sum a, Sum b, Sum c, Sum d) {
  return add_lanes(vpaddlq_s16(a), vpaddlq_s16(b), vpaddlq_s16(c), vpaddlq_s16(d));
}

static inline void multiply_group(size_t tall, const uint8_t* panel, size_t half, const int8_t* q,
                                  size_t q_stride, int32_t* sums) {
  kTiles[tall - 1](kGroupK, panel + half * kGroupK, kBlockK, q, q_stride, sums, kRows);
}

}  // namespace bitnet

#define ISA(name) name##_neon
#include "kernels/ternary_group/arm.inc"
