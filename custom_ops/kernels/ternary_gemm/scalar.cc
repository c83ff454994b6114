#include "kernels/scalar.h"

#include "kernels/ternary_gemm/ternary_gemm.h"
#include "kernels/ternary_gemv/ternary_gemv.h"

namespace bitnet {

void ternary_gemm_scalar(size_t m, size_t n, size_t blocks, const int8_t* q, const int32_t* q_sums,
                         const uint8_t* w, int32_t* sums, size_t stride) {
  for (size_t i = 0; i < m; i++) {
    ternary_gemv_scalar(n, blocks, q + i * blocks * kBlockK, q_sums[i], w, sums + i * stride);
  }
}

void ternary_columns_gemm_scalar(size_t m, size_t count, size_t blocks, const int8_t* q,
                                 size_t q_stride, const int32_t* q_sums, const uint8_t* w,
                                 size_t row_bytes, int32_t* sums, size_t stride) {
  for (size_t i = 0; i < m; i++) {
    for (size_t b = 0; b < blocks; b++) {
      int32_t* to = sums + i * stride + b * kBlockK;
      for (size_t n = 0; n < kBlockK; n++) to[n] = -q_sums[i];
      for (size_t k = 0; k < count; k++) {
        add_column(q[i * q_stride + k], w + k * row_bytes + b * kBlockBytes, to);
      }
    }
  }
}

}  // namespace bitnet
