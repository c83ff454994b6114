#include "kernels/scalar.h"

#include "kernels/attend_values/attend_values.h"

namespace bitnet {

template <typename Cache>
static void blend(size_t rows, size_t positions, size_t width, size_t d, const double* weights,
                  size_t stride, const Cache* v, double* sums, size_t s_stride) {
  for (size_t r = 0; r < rows; r++) {
    for (size_t t = 0; t < positions; t++) {
      for (size_t i = 0; i < width; i++) {
        sums[r * s_stride + i] +=
            weights[r * stride + t] * static_cast<double>(widen(v[t * d + i]));
      }
    }
  }
}

void attend_values_scalar(size_t rows, size_t positions, size_t width, size_t d,
                          const double* weights, size_t stride, const float* v, double* sums,
                          size_t s_stride) {
  blend(rows, positions, width, d, weights, stride, v, sums, s_stride);
}

void attend_values_f16_scalar(size_t rows, size_t positions, size_t width, size_t d,
                              const double* weights, size_t stride, const uint16_t* v, double* sums,
                              size_t s_stride) {
  blend(rows, positions, width, d, weights, stride, v, sums, s_stride);
}

}  // namespace bitnet
