#include "kernels/level_gemv/level_gemv.h"

namespace bitnet {

// The code of weight k of a block.
template <int Bits>
static int code_of(const uint8_t* block, size_t k) {
  const int low = block[k / 128 * 64 + k % 64] >> (k / 64 % 2 * 4) & 15;
  return Bits == 4 ? low : low | (block[128 + k % 64] >> (k / 64 * 2) & 3) << 4;
}

template <int Bits>
static int64_t row_sum(size_t blocks, const SplitBlock* x, const uint8_t* codes,
                       const int8_t* levels) {
  int64_t sum = 0;
  for (size_t b = 0; b < blocks; b++, codes += 32 * Bits, levels += kLevels) {
    int32_t groups[kLevels] = {0};
    for (size_t k = 0; k < kBlockK; k++) {
      const int q = 256 * x[b].high[k] + x[b].low[k];
      groups[k / 4 % kLevels] += q * (code_of<Bits>(codes, k) - (1 << (Bits - 1)));
    }
    for (size_t j = 0; j < kLevels; j++) sum += int64_t{groups[j]} * levels[j];
  }
  return sum;
}

}  // namespace bitnet

#define ISA(name) name##_scalar
#include "kernels/level_gemv/by_rows.inc"
