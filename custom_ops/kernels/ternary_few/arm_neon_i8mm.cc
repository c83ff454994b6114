#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ternary_few/step.h"
#include "kernels/ternary_few/ternary_few.h"

namespace bitnet {

static_assert(3ll * 128 * 8 * 32 * (kMaxK / kBlockK) <= INT32_MAX, "int32 lanes");

// sums[m * 4 + r] of 4 weight rows by M activation rows; an odd last one is multiplied twice. One
// smmla multiplies 8 elements of 2 rows of each.
template <int M>
static void products(size_t blocks, const int8_t* q, const uint8_t* const* row,
                     const uint8_t* const* ahead, int32_t* sums) {
  constexpr int kPairs = (M + 1) / 2;
  const size_t width = blocks * kBlockK;
  const uint8x16_t mask = vdupq_n_u8(3);
  int32x4_t acc[kPairs][2];
  UNROLL for (int p = 0; p < kPairs; p++) acc[p][0] = acc[p][1] = vdupq_n_s32(0);
  for (size_t at = 0; at < blocks * kBlockBytes; at += kBlockBytes) {
    UNROLL for (int r = 0; r < 4; r++) PREFETCH(ahead[r] + at);
    ROLLED for (size_t part = 0; part < kBlockBytes; part += 16) {
      uint8x16_t packed[4];  // the first 8 bytes of two rows, the last 8
      UNROLL for (int i = 0; i < 4; i += 2) {
        const uint64x2_t a = vreinterpretq_u64_u8(vld1q_u8(row[i] + at + part));
        const uint64x2_t b = vreinterpretq_u64_u8(vld1q_u8(row[i + 1] + at + part));
        packed[i] = vreinterpretq_u8_u64(vzip1q_u64(a, b));
        packed[i + 1] = vreinterpretq_u8_u64(vzip2q_u64(a, b));
      }
      const int8_t* from = q + at / kBlockBytes * kBlockK + part;
      ROLLED for (int j = 0; j < 4; j++, from += 64) {
        int8x16_t x[kPairs][2];
        UNROLL for (int p = 0; p < kPairs; p++) {
          const int8_t* pair = from + 2 * p * width;
          const int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(pair));
          const int64x2_t b = vreinterpretq_s64_s8(vld1q_s8(2 * p + 1 < M ? pair + width : pair));
          x[p][0] = vreinterpretq_s8_s64(vzip1q_s64(a, b));
          x[p][1] = vreinterpretq_s8_s64(vzip2q_s64(a, b));
        }
        UNROLL for (int i = 0; i < 4; i++) {
          const int8x16_t codes = vreinterpretq_s8_u8(vandq_u8(packed[i], mask));
          packed[i] = vshrq_n_u8(packed[i], 2);
          UNROLL for (int p = 0; p < kPairs; p++) {
            acc[p][i / 2] = vmmlaq_s32(acc[p][i / 2], x[p][i % 2], codes);
          }
        }
      }
    }
  }
  UNROLL for (int p = 0; p < kPairs; p++) {
    const int64x2_t a = vreinterpretq_s64_s32(acc[p][0]), b = vreinterpretq_s64_s32(acc[p][1]);
    vst1q_s32(sums + 8 * p, vreinterpretq_s32_s64(vzip1q_s64(a, b)));
    if (2 * p + 1 < M) vst1q_s32(sums + 8 * p + 4, vreinterpretq_s32_s64(vzip2q_s64(a, b)));
  }
}

// 8 sums, 4 packed vectors, 8 of activations, the mask and codes: 22 of the 32 registers.
static const FewStep kSteps[] = {{4, products<1>}, {4, products<2>}, {4, products<3>},
                                 {4, products<4>}, {4, products<5>}, {4, products<6>},
                                 {4, products<7>}, {4, products<8>}};

}  // namespace bitnet

#define ISA(name) name##_neon_i8mm
#define GEMM(name) name##_neon_i8mm
#define ROW(name) name##_neon_dotprod
#define COLUMNS(name) name##_neon_dotprod
#include "kernels/ternary_few/columns.inc"
#include "kernels/ternary_few/few.inc"
