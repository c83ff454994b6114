#include "kernels/ternary_gemv/ternary_gemv.h"

namespace bitnet {

void ternary_gemv_scalar(size_t rows, size_t blocks, const int8_t* q, int32_t q_sum,
                         const uint8_t* w, int32_t* sums) {
  for (size_t n = 0; n < rows; n++, w += blocks * kBlockBytes) {
    int32_t sum = -q_sum;
    for (size_t block = 0; block < blocks; block++) {
      const uint8_t* bytes = w + block * kBlockBytes;
      for (int field = 0; field < 4; field++) {
        const int8_t* x = q + block * kBlockK + field * 64;
        for (int b = 0; b < 64; b++) {
          const int16_t code = (bytes[b] >> (2 * field)) & 3;
          sum += static_cast<int16_t>(x[b]) * code;
        }
      }
    }
    sums[n] = sum;
  }
}

void ternary_select_scalar(size_t count, size_t, size_t blocks, const int8_t* q, int32_t q_sum,
                           const uint8_t* w, const int32_t* index, int32_t* sums) {
  for (size_t i = 0; i < count; i++) {
    const size_t row = static_cast<size_t>(index[i]);
    ternary_gemv_scalar(1, blocks, q, q_sum, w + row * blocks * kBlockBytes, sums + i);
  }
}

}  // namespace bitnet
