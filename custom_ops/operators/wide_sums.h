// What products with 16-bit activations share: their slabs, and int64 sums that become results.
#pragma once

#include "platform/sizes.h"

namespace bitnet {

constexpr size_t kWideSlab = 256;   // activation rows at a time: bounds the scratch
constexpr size_t kWideSums = 2048;  // int64 sums that a task keeps on its stack

// y[i * stride + n] = sums[i * count + n] * scale[n] * inverse[i] for i < m, n < count; each factor
// rounds to float32. scale is at any address.
inline void scale_wide_sums(size_t m, size_t count, const int64_t* sums, const float* scale,
                            const float* inverse, float* y, size_t stride) {
  for (size_t i = 0; i < m; i++) {
    for (size_t n = 0; n < count; n++) {
      const float sum = static_cast<float>(sums[i * count + n]);
      y[i * stride + n] = sum * load_float(scale, n) * inverse[i];
    }
  }
}

}  // namespace bitnet
