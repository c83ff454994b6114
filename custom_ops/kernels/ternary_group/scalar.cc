#include <string.h>

#include "kernels/ternary_group/ternary_group.h"

namespace bitnet {

static double group_total(size_t groups, const int8_t* q, const int32_t* q_sums, const uint8_t* w,
                          const char* scale) {
  double total = 0;
  for (size_t g = 0; g < groups; g++) {
    const uint8_t* bytes = w + g / 2 * kBlockBytes;
    int32_t sum = -q_sums[g];
    for (size_t k = 0; k < kGroupK; k++) {
      const int16_t code = (bytes[k % 64] >> (g % 2 * 4 + k / 64 * 2)) & 3;
      sum += static_cast<int16_t>(q[g * kGroupK + k]) * code;
    }
    float factor;
    memcpy(&factor, scale + 4 * g, 4);
    total += static_cast<double>(sum) * static_cast<double>(factor);
  }
  return total;
}

void ternary_group_scalar(size_t m, size_t n, size_t groups, const int8_t* q, const int32_t* q_sums,
                          const uint8_t* w, const float* scale, double* totals, size_t stride) {
  const size_t blocks = (groups + 1) / 2;
  const char* scales = reinterpret_cast<const char*>(scale);
  for (size_t i = 0; i < m; i++) {
    for (size_t j = 0; j < n; j++) {
      totals[i * stride + j] = group_total(groups, q + i * blocks * kBlockK, q_sums + i * groups,
                                           w + j * blocks * kBlockBytes, scales + 4 * j * groups);
    }
  }
}

}  // namespace bitnet
