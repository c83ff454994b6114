#include "kernels/rows/rows.h"

namespace bitnet {

static inline void add_squares(size_t count, const float* x, const uint8_t* next, const float* out,
                               double* lanes) {
  for (size_t i = 0; i < count; i += 16) {
    PREFETCH(next + i * sizeof(float));
    PREFETCH(out + i);
    for (size_t l = 0; l < 16; l++) {
      const double wide = static_cast<double>(x[i + l]);
      lanes[l] += wide * wide;
    }
  }
}

}  // namespace bitnet

#define ISA(name) name##_scalar
#include "kernels/rows/rows.inc"
