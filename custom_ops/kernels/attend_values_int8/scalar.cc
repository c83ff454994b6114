#include "kernels/attend_values_int8/attend_values_int8.h"

namespace bitnet {

void attend_values_int8_scalar(size_t rows, size_t positions, size_t d, const int16_t* p,
                               const int8_t* v, const double* scale, const int8_t*, double* sums,
                               size_t s_stride) {
  for (size_t r = 0; r < rows; r++) {
    for (size_t i = 0; i < d; i++) {
      int32_t sum = 0;
      for (size_t t = 0; t < positions; t++) {
        sum += p[r * kAttendSpan + t] * static_cast<int16_t>(v[t * d + i]);
      }
      sums[r * s_stride + i] += static_cast<double>(sum) * scale[r];
    }
  }
}

}  // namespace bitnet
