#include "kernels/arm_neon.h"

#include "kernels/ternary_gemm/ternary_gemm.h"

namespace bitnet {

static constexpr size_t kPanelBlocks = 1;

static inline void multiply(size_t tall, size_t depth, const uint8_t* panel, const int8_t* q,
                            size_t q_stride, int32_t* sums, size_t stride) {
  kTiles[tall - 1](depth, panel, depth, q, q_stride, sums, stride);
}

}  // namespace bitnet

#define ISA(name) name##_neon
#include "kernels/ternary_gemm/arm.inc"

namespace bitnet {

// GEMM of columns: 16 bytes of each of 16 columns are transposed while packed. Each field is then
// 16 columns of a panel.
static constexpr size_t kPanelBytes = kColumns * kRows;

// The panels of the 4 fields follow each other; `depth` bytes are from row to row.
static NOINLINE void unpack_16(const uint8_t* const* column, size_t at, size_t depth,
                               uint8_t* panels) {
  uint8x16_t v[16], t[16];
  UNROLL for (int i = 0; i < 16; i++) v[i] = vld1q_u8(column[i] + at);
  // Column and byte are the halves of one index. Each turn rotates it by a bit; four turns exchange
  // them.
  UNROLL for (int turn = 0; turn < 4; turn++) {
    UNROLL for (int i = 0; i < 8; i++) {
      t[2 * i] = vzip1q_u8(v[i], v[i + 8]);
      t[2 * i + 1] = vzip2q_u8(v[i], v[i + 8]);
    }
    UNROLL for (int i = 0; i < 16; i++) v[i] = t[i];
  }
  UNROLL for (size_t i = 0; i < 16; i++) {
    uint8x16_t code[4];
    unpack(v[i], code);
    UNROLL for (size_t j = 0; j < 4; j++) vst1q_u8(panels + j * kPanelBytes + i * depth, code[j]);
  }
}

static void add_columns(size_t m, size_t depth, const uint8_t* const* column, size_t at,
                        const int8_t* q, size_t q_stride, int32_t* sums, size_t stride) {
  static_assert(2 * kColumns / 16 <= kProducts, "int16 lanes");
  alignas(16) uint8_t panels[4 * kPanelBytes];
  for (size_t part = 0; part < kBlockBytes; part += 16) {
    for (size_t i = 0; i < depth; i += 16) {
      unpack_16(column + i, at + part, depth, panels + i);
    }
    for (size_t j = 0; j < 4; j++) {
      prefetch_columns(part / 4 + j, depth, column, at);
      add_panel(m, kRows, depth, panels + j * kPanelBytes, q, q_stride, sums + 64 * j + part,
                stride);
    }
  }
}

}  // namespace bitnet

#include "kernels/ternary_gemm/columns.inc"
