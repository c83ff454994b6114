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
static constexpr size_t kChunk = 64;  // columns

static NOINLINE void unpack_16(const uint8_t* const column[16], size_t at,
                               uint8_t panel[4][kChunk * kRows]) {
  uint8x16_t v[16], t[16];
  UNROLL for (int i = 0; i < 16; i++) v[i] = vld1q_u8(column[i]);
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
    UNROLL for (int j = 0; j < 4; j++) vst1q_u8(panel[j] + i * kChunk + at, code[j]);
  }
}

void ternary_columns_gemm_neon(size_t m, size_t count, const int8_t* q, size_t q_stride,
                               const int32_t* q_sums, const uint8_t* w, size_t row_bytes,
                               int32_t* sums, size_t stride) {
  alignas(16) uint8_t panel[4][kChunk * kRows];
  start(m, kBlockK, q_sums, sums, stride);
  for (size_t k = 0; k < count; k += kChunk) {
    for (size_t part = 0; part < kBlockBytes; part += 16) {
      for (size_t i = 0; i < kChunk; i += 16) {
        const uint8_t* column[16];  // past the last one, where q is 0, it is repeated
        for (size_t c = 0; c < 16; c++) {
          const size_t at = k + i + c;
          column[c] = w + (at < count ? at : count - 1) * row_bytes + part;
        }
        unpack_16(column, i, panel);
      }
      for (size_t j = 0; j < 4; j++) {
        add_panel(m, kRows, kChunk, panel[j], q + k, q_stride, sums + 64 * j + part, stride);
      }
    }
  }
}

}  // namespace bitnet
