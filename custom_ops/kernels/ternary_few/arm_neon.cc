#include "kernels/arm_neon.h"

#include "kernels/ternary_few/ternary_few.h"

namespace bitnet {

using Packed = uint8x16_t;
using Sum = int16x8_t;
using Wide = int32x4_t;

static constexpr size_t kSegment = 2;  // a lane takes 32 products a block
static_assert(32 * kSegment <= kProducts, "int16 lanes");

static inline Sum add_products(Sum sum, uint8x16_t codes, const int8_t* q) {
  return add_products(sum, codes, vld1q_s8(q));
}

static inline Wide widen(Wide wide, Sum sum) { return vpadalq_s16(wide, sum); }

}  // namespace bitnet

#include "kernels/ternary_few/arm.inc"

#define ISA(name) name##_neon
#define GEMM(name) name##_neon
#define ROW(name) name##_neon
#define COLUMNS(name) name##_neon
#include "kernels/ternary_few/columns.inc"
#include "kernels/ternary_few/few.inc"
