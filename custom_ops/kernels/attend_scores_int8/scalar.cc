#include "kernels/attend_scores_int8/attend_scores_int8.h"

namespace bitnet {

void attend_scores_int8_scalar(size_t rows, size_t positions, size_t d, const int16_t* q,
                               const int8_t* k, const float* k_scale, const float* factor,
                               const int8_t*, float* scores, size_t stride) {
  const size_t padded = (d + kPadInt8 - 1) / kPadInt8 * kPadInt8;
  for (size_t t = 0; t < positions; t++, k += d) {
    for (size_t r = 0; r < rows; r++) {
      int32_t sum = 0;
      for (size_t i = 0; i < d; i++) sum += q[r * padded + i] * static_cast<int16_t>(k[i]);
      scores[r * stride + t] = static_cast<float>(sum) * k_scale[t] * factor[r];
    }
  }
}

}  // namespace bitnet
