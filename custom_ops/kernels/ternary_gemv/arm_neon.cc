#include "kernels/arm_neon.h"

#include <string.h>

#include "kernels/ternary_gemv/ternary_gemv.h"

namespace bitnet {

// Bytes: what a memory with 100 ns of latency and 40 GB/s has on its way to one core.
static constexpr size_t kAhead = 4096;

static constexpr size_t kGemvBlocks =
    5;  // a lane of each of the two sums takes 16 products a block
static_assert(16 * kGemvBlocks <= kProducts, "int16 lanes");

// The sums of R rows, at most 4; lanes R to 3 are zero. The bytes at `ahead` are prefetched.
template <int R>
static inline int32x4_t ternary_rows(size_t blocks, const int8_t* q, const uint8_t* const* row,
                                     const uint8_t* const* ahead) {
  int32x4_t wide[4];
  UNROLL for (int r = 0; r < 4; r++) wide[r] = vdupq_n_s32(0);
  for (size_t begin = 0; begin < blocks; begin += kGemvBlocks) {
    const size_t end = blocks - begin < kGemvBlocks ? blocks : begin + kGemvBlocks;
    int16x8_t even[R], odd[R];  // of the fields 0 and 2, 1 and 3
    UNROLL for (int r = 0; r < R; r++) even[r] = odd[r] = vdupq_n_s16(0);
    for (size_t at = begin * kBlockBytes; at < end * kBlockBytes; at += 16) {
      const int8_t* x = q + at / kBlockBytes * kBlockK + at % kBlockBytes;
      const int8x16_t x0 = vld1q_s8(x), x1 = vld1q_s8(x + 64);
      const int8x16_t x2 = vld1q_s8(x + 128), x3 = vld1q_s8(x + 192);
      PREFETCH(ahead[at / 16 % R] + at / kBlockBytes * kBlockBytes);  // one row's line in each turn
      UNROLL for (int r = 0; r < R; r++) {
        uint8x16_t code[4];
        unpack(vld1q_u8(row[r] + at), code);
        even[r] = add_products(even[r], code[0], x0);
        odd[r] = add_products(odd[r], code[1], x1);
        even[r] = add_products(even[r], code[2], x2);
        odd[r] = add_products(odd[r], code[3], x3);
      }
    }
    UNROLL for (int r = 0; r < R; r++) wide[r] = vpadalq_s16(vpadalq_s16(wide[r], even[r]), odd[r]);
  }
  return add_lanes(wide[0], wide[1], wide[2], wide[3]);
}

}  // namespace bitnet

#define ISA(name) name##_neon
#include "kernels/ternary_gemv/arm.inc"
