#include "kernels/arm_neon_dotprod.h"

#include "kernels/ternary_few/ternary_few.h"

namespace bitnet {

using Packed = uint8x16_t;
using Sum = int32x4_t;
using Wide = int32x4_t;

static constexpr size_t kSegment = kMaxK / kBlockK;
static_assert(3ll * 128 * 4 * 16 * kSegment <= INT32_MAX, "int32 lanes");

static inline Sum add_products(Sum sum, uint8x16_t codes, const int8_t* q) {
  return dot(sum, codes, vld1q_s8(q));
}

static inline Wide widen(Wide wide, Sum sum) { return vaddq_s32(wide, sum); }

}  // namespace bitnet

#include "kernels/ternary_few/arm.inc"

#define ISA(name) name##_neon_dotprod
#define GEMM(name) name##_neon_dotprod
#define ROW(name) name##_neon_dotprod
#define COLUMNS(name) name##_neon_dotprod
#include "kernels/ternary_few/columns.inc"
#include "kernels/ternary_few/few.inc"
