#include "kernels/ternary_gemv/ternary_gemv.h"
#include "kernels/ternary_open/ternary_open.h"

namespace bitnet {

void ternary_open_scalar(size_t m, size_t count, size_t blocks, const int8_t* q,
                         const int32_t* q_sums, const uint8_t* w, const float* gates,
                         size_t gates_stride, int32_t* sums, size_t stride) {
  for (size_t i = 0; i < m; i++) {
    for (size_t n = 0; n < count; n++) {
      const float gate = gates[i * gates_stride + n];
      int32_t* sum = sums + i * stride + n;
      *sum = 0;
      if (gate <= 0 || gate * gate == 0) continue;  // not a number is open
      ternary_gemv_scalar(1, blocks, q + i * blocks * kBlockK, q_sums[i],
                          w + n * blocks * kBlockBytes, sum);
    }
  }
}

}  // namespace bitnet
