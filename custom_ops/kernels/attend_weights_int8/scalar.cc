#include <string.h>

#include "kernels/attend_weights_int8/attend_weights_int8.h"

namespace bitnet {

static inline int16_t rounded(float x) {
  const float shifted = x + kRoundMagic;
  uint32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  return static_cast<int16_t>(bits - kRoundMagicBits);
}

void attend_weights_int8_scalar(size_t rows, size_t positions, const double* weights, size_t stride,
                                const float* v_scale, int16_t* p, double* scale) {
  for (size_t r = 0; r < rows; r++, p += kAttendSpan, weights += stride) {
    float x[kAttendSpan], most = kLeastPeak, poison = 0;  // 0, or NaN where an x is not finite
    for (size_t t = 0; t < positions; t++) {
      x[t] = static_cast<float>(weights[t]) * v_scale[t];
      const float size = x[t] < 0 ? -x[t] : x[t];
      most = most > size ? most : size;
      poison += x[t] * 0;
    }
    const float s = kPeakInt16 / most;
    const size_t count = poison == 0 ? positions : 0;
    for (size_t t = 0; t < kAttendSpan; t++) p[t] = t < count ? rounded(x[t] * s) : int16_t{0};
    scale[r] = static_cast<double>(1.0f / s + poison);
  }
}

}  // namespace bitnet
