#include "kernels/arm_neon_dotprod.h"

#include "kernels/int8_gemv/int8_gemv.h"

namespace bitnet {

using Lanes = int32x4x2_t;  // of the low and the high bytes

struct Step {
  size_t rows;
  void (*products)(size_t, const int16_t*, size_t, const uint8_t* const*, Lanes*);
};

static constexpr size_t kAhead = 4096;

// q = 256 * high + low. Both are int8, since |q| <= 32512, and have sums of their own. A lane takes
// a quarter of K products.
static constexpr size_t kDepth = kMaxK;
static_assert(128ll * 128 * (kDepth / 4) <= INT32_MAX, "int32 lanes");

template <int R, int M>
static void products(size_t depth, const int16_t* q, size_t q_stride, const uint8_t* const* row,
                     Lanes* lanes) {
  int32x4_t acc[M][R][2];
  UNROLL for (int i = 0; i < R * M; i++) {
    acc[i / R][i % R][0] = acc[i / R][i % R][1] = vdupq_n_s32(0);
  }
  for (size_t i = 0; i < depth; i += 16) {
    PREFETCH(row[i / 16 % R] + i / 64 * 64 + kAhead);  // one row's line in each turn
    int8x16_t w[R];
    UNROLL for (int r = 0; r < R; r++) w[r] = vreinterpretq_s8_u8(vld1q_u8(row[r] + i));
    UNROLL for (int m = 0; m < M; m++) {
      int8x16_t x[2];
      split(q + m * q_stride + i, x);
      UNROLL for (int r = 0; r < R; r++) {
        acc[m][r][0] = vdotq_s32(acc[m][r][0], w[r], x[0]);
        acc[m][r][1] = vdotq_s32(acc[m][r][1], w[r], x[1]);
      }
    }
  }
  UNROLL for (int i = 0; i < R * M; i++) {
    lanes[i] = {{acc[i / R][i % R][0], acc[i / R][i % R][1]}};
  }
}

static inline int64_t lane_sum(const Lanes& lanes) {
  return vaddlvq_s32(lanes.val[0]) + 256 * vaddlvq_s32(lanes.val[1]);
}

// 16 sums. 24 would fit the registers, but not with what splits activations.
static const Step kSteps[] = {{4, products<4, 1>}, {4, products<4, 2>}};

}  // namespace bitnet

#define ISA(name) name##_neon_dotprod
#include "kernels/int8_gemv/few.inc"
