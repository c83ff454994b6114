#include "kernels/arm_neon_dotprod.h"

#include "kernels/ternary_gemm/ternary_gemm.h"

namespace bitnet {

static constexpr size_t kPanelBlocks = 2;

static inline void multiply(size_t tall, size_t depth, const uint8_t* panel, const int8_t* q,
                            size_t q_stride, int32_t* sums, size_t stride) {
  kTiles[tall - 1](depth, panel, q, q_stride, sums, stride);
}

}  // namespace bitnet

#define ISA(name) name##_neon_dotprod
#include "kernels/ternary_gemm/arm.inc"

namespace bitnet {

// GEMM of columns: 4 of them at a time are interleaved while packed, to [part][k / 4][byte][k % 4]
// with 16 bytes a part. Each field is then the panel of 16 outputs.
static constexpr size_t kPanelBytes = kColumns * kRows;

static inline void interleave_4(const uint8_t* const* column, size_t at, uint8_t* packed) {
  UNROLL for (int part = 0; part < 4; part++, packed += kPanelBytes) {
    uint8x16_t v[4], t[4];
    UNROLL for (int i = 0; i < 4; i++) v[i] = vld1q_u8(column[i] + at + 16 * part);
    UNROLL for (int turn = 0; turn < 2; turn++) {
      UNROLL for (int i = 0; i < 2; i++) {
        t[2 * i] = vzip1q_u8(v[i], v[i + 2]);
        t[2 * i + 1] = vzip2q_u8(v[i], v[i + 2]);
      }
      UNROLL for (int i = 0; i < 4; i++) v[i] = t[i];
    }
    UNROLL for (int i = 0; i < 4; i++) vst1q_u8(packed + 16 * i, v[i]);
  }
}

static void add_columns(size_t m, size_t depth, const uint8_t* const* column, size_t at,
                        const int8_t* q, size_t q_stride, int32_t* sums, size_t stride) {
  alignas(16) uint8_t packed[4 * kPanelBytes], panel[kPanelBytes];
  const uint8x16_t mask = vdupq_n_u8(3);
  for (size_t i = 0; i < depth; i += 4) interleave_4(column + i, at, packed + i * kRows);
  for (int field = 0; field < 16; field++) {  // field / 4 of part field % 4
    const uint8_t* from = packed + field % 4 * kPanelBytes;
    const int8x16_t right = vdupq_n_s8(static_cast<int8_t>(field / 4 * -2));
    prefetch_columns(static_cast<size_t>(field), depth, column, at);
    for (size_t i = 0; i < depth * kRows; i += 16) {
      vst1q_u8(panel + i, vandq_u8(vshlq_u8(vld1q_u8(from + i), right), mask));
    }
    add_panel(m, kRows, depth, panel, q, q_stride, sums + field * 16, stride);
  }
}

}  // namespace bitnet

#include "kernels/ternary_gemm/columns.inc"
