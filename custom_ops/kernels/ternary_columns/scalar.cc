#include "kernels/scalar.h"

#include "kernels/ternary_columns/ternary_columns.h"

namespace bitnet {

void ternary_columns_scalar(size_t count, size_t blocks, const int32_t* index, const int8_t* q,
                            const uint8_t* w, int32_t* sums) {
  int32_t q_sum = 0;
  for (size_t i = 0; i < count; i++) q_sum += q[i];
  for (size_t n = 0; n < blocks * kBlockK; n++) sums[n] = -q_sum;
  for (size_t i = 0; i < count; i++) {
    const uint8_t* row = w + static_cast<size_t>(index[i]) * blocks * kBlockBytes;
    for (size_t b = 0; b < blocks; b++) {
      add_column(q[i], row + b * kBlockBytes, sums + b * kBlockK);
    }
  }
}

}  // namespace bitnet
