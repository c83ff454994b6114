#include <string.h>

#include "kernels/rows/rows.h"

namespace bitnet {

static inline void add_products(size_t count, const float* x, const void* w, const uint8_t* next,
                                const float* out, double* lanes) {
  for (size_t i = 0; i < count; i += 16) {
    PREFETCH(next + i * sizeof(float));
    PREFETCH(out + i);
    for (size_t l = 0; l < 16; l++) {
      float weight;
      memcpy(&weight, static_cast<const char*>(w) + (i + l) * sizeof weight, sizeof weight);
      lanes[l] += static_cast<double>(x[i + l]) * static_cast<double>(weight);
    }
  }
}

}  // namespace bitnet

#define ISA(name) name##_scalar
#include "kernels/rows/rows.inc"
