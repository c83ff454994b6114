#include <stddef.h>
#include <stdint.h>

#include "kernel.h"

namespace bitnet {

void ternary_select_avx512vnni(size_t count, size_t blocks, const int8_t* q, int32_t q_sum,
                               const uint8_t* w, const int32_t* index, int32_t* sums) {
  ternary_select_scalar(count, blocks, q, q_sum, w, index, sums);
}

void ternary_columns_avx512vnni(size_t count, size_t blocks, const int32_t* index, const int8_t* q,
                                const uint8_t* w, int32_t* sums) {
  ternary_columns_scalar(count, blocks, index, q, w, sums);
}

void ternary_columns_gemm_avx512vnni(size_t m, size_t count, const int8_t* q, size_t q_stride,
                                     const int32_t* q_sums, const uint8_t* w, size_t row_bytes,
                                     int32_t* sums, size_t stride) {
  ternary_columns_gemm_scalar(m, count, q, q_stride, q_sums, w, row_bytes, sums, stride);
}

}  // namespace bitnet
