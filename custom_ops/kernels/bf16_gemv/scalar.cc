#include <string.h>

#include "kernels/bf16_gemv/bf16_gemv.h"

namespace bitnet {

static inline float bf16(const uint8_t* p) {
  uint16_t half;
  memcpy(&half, p, sizeof half);
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static void one(size_t rows, size_t k, const double* x, const uint8_t* w, float* y) {
  for (size_t n = 0; n < rows; n++, w += 2 * k) {
    double even[8] = {0}, odd[8] = {0};  // lanes 0, 2, ... and 1, 3, ...
    size_t base = 0;
    for (; base + 16 <= k; base += 16) {
      for (size_t i = 0; i < 8; i++) {
        even[i] += x[base + i] * static_cast<double>(bf16(w + 2 * (base + 2 * i)));
        odd[i] += x[base + 8 + i] * static_cast<double>(bf16(w + 2 * (base + 2 * i + 1)));
      }
    }
    for (size_t i = base; i < k; i++) {
      const size_t half = (i - base) / 2;
      double* lane = (i & 1 ? odd : even) + half;
      *lane += x[base + (i & 1 ? 8 : 0) + half] * static_cast<double>(bf16(w + 2 * i));
    }
    for (size_t half = 4; half > 0; half /= 2) {  // lanes +8, +4, +2
      for (size_t i = 0; i < half; i++) {
        even[i] += even[i + half];
        odd[i] += odd[i + half];
      }
    }
    y[n] = static_cast<float>(even[0] + odd[0]);
  }
}

void bf16_gemv_scalar(size_t m, size_t rows, size_t k, const double* x, size_t x_stride,
                      const uint8_t* w, const uint8_t*, float* y, size_t stride) {
  for (size_t i = 0; i < m; i++) one(rows, k, x + i * x_stride, w, y + i * stride);
}

}  // namespace bitnet
