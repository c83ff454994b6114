#include "kernels/ternary_columns/ternary_columns.h"
#include "kernels/ternary_few/ternary_few.h"
#include "kernels/ternary_gemm/ternary_gemm.h"
#include "kernels/ternary_gemv/ternary_gemv.h"

namespace bitnet {

void ternary_few_scalar(size_t m, size_t count, size_t blocks, const int8_t* q,
                        const int32_t* q_sums, const uint8_t* w, const int32_t* index,
                        int32_t* sums, size_t stride) {
  for (size_t i = 0; i < m; i++, q += blocks * kBlockK, sums += stride) {
    if (index) {
      ternary_select_scalar(count, count, blocks, q, q_sums[i], w, index, sums);
    } else {
      ternary_gemv_scalar(count, blocks, q, q_sums[i], w, sums);
    }
  }
}

void ternary_columns_few_scalar(size_t m, size_t count, size_t blocks, const int8_t* q,
                                size_t q_stride, const int32_t* q_sums, const uint8_t* w,
                                const int32_t* index, int32_t* sums, size_t stride) {
  for (size_t i = 0; index && i < m; i++) {
    ternary_columns_scalar(count, blocks, index, q + i * q_stride, w, sums + i * stride);
  }
  if (index) return;
  ternary_columns_gemm_scalar(m, count, blocks, q, q_stride, q_sums, w, blocks * kBlockBytes, sums,
                              stride);
}

}  // namespace bitnet
