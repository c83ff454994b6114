#include "kernels/arm_neon_dotprod.h"

#include <string.h>

#include "kernels/ternary_gemv/ternary_gemv.h"

namespace bitnet {

// Bytes: what a memory with 100 ns of latency and 40 GB/s has on its way to one core.
static constexpr size_t kAhead = 4096;

// A mask alone takes a field out of a byte, which leaves 4^j times the code. Each field has its own
// sum, shifted once at the end. The last field would be negative as int8, so a shift takes it.
static_assert(48ll * 128 * 16 * (kMaxK / kBlockK) <= INT32_MAX, "int32 lanes");

// The sums of R rows, at most 4; lanes R to 3 are zero. The bytes at `ahead` are prefetched.
template <int R>
static inline int32x4_t ternary_rows(size_t blocks, const int8_t* q, const uint8_t* const* row,
                                     const uint8_t* const* ahead) {
  int32x4_t acc[R][3];
  UNROLL for (int i = 0; i < 3 * R; i++) acc[i / 3][i % 3] = vdupq_n_s32(0);
  const uint8x16_t mask0 = vdupq_n_u8(0x03), mask1 = vdupq_n_u8(0x0c), mask2 = vdupq_n_u8(0x30);
  for (size_t at = 0; at < blocks * kBlockBytes; at += 16) {
    const int8_t* x = q + at / kBlockBytes * kBlockK + at % kBlockBytes;
    const int8x16_t x0 = vld1q_s8(x), x1 = vld1q_s8(x + 64);
    const int8x16_t x2 = vld1q_s8(x + 128), x3 = vld1q_s8(x + 192);
    PREFETCH(ahead[at / 16 % R] + at / kBlockBytes * kBlockBytes);  // one row's line in each turn
    UNROLL for (int r = 0; r < R; r++) {
      const uint8x16_t packed = vld1q_u8(row[r] + at);
      acc[r][0] = dot(acc[r][0], vandq_u8(packed, mask0), x0);
      acc[r][1] = dot(acc[r][1], vandq_u8(packed, mask1), x1);
      acc[r][2] = dot(acc[r][2], vandq_u8(packed, mask2), x2);
      acc[r][0] = dot(acc[r][0], vshrq_n_u8(packed, 6), x3);
    }
  }
  int32x4_t sums[4];
  UNROLL for (int r = 0; r < 4; r++) sums[r] = vdupq_n_s32(0);
  UNROLL for (int r = 0; r < R; r++) {
    sums[r] = vsraq_n_s32(vsraq_n_s32(acc[r][0], acc[r][1], 2), acc[r][2], 4);
  }
  return add_lanes(sums[0], sums[1], sums[2], sums[3]);
}

}  // namespace bitnet

#define ISA(name) name##_neon_dotprod
#include "kernels/ternary_gemv/arm.inc"
