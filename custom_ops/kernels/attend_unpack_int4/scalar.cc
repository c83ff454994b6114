#include "kernels/attend_unpack_int4/attend_unpack_int4.h"

namespace bitnet {

static inline int8_t times(int code, int multiplier) {
  const int x = (code - 8) * (multiplier + 2);
  return static_cast<int8_t>(x > -128 ? x : -128);
}

void attend_unpack_int4_scalar(size_t positions, size_t d, const uint8_t* packed, int8_t* x) {
  for (size_t t = 0; t < positions; t++) {
    for (size_t i = 0; i < d; i += kCacheBlock, packed += kCacheBytes) {
      const uint8_t m = packed[kCacheGroup];
      int8_t* to = x + t * d + i;
      for (size_t j = 0; j < kCacheGroup; j++) {
        to[j] = times(packed[j] & 15, m & 15);
        to[kCacheGroup + j] = times(packed[j] >> 4, m >> 4);
      }
    }
  }
}

}  // namespace bitnet
