#include <string.h>

#include "kernels/read/read.h"

namespace bitnet {

uint64_t read_scalar(const uint8_t* data, size_t bytes) {
  uint64_t lanes[8] = {0};
  size_t i = 0;
  for (; i + 64 <= bytes; i += 64) {
    for (int lane = 0; lane < 8; lane++) {
      uint64_t word;
      memcpy(&word, data + i + 8 * lane, 8);
      lanes[lane] ^= word;
    }
  }
  for (; i + 8 <= bytes; i += 8) {
    uint64_t word;
    memcpy(&word, data + i, 8);
    lanes[0] ^= word;
  }
  for (int lane = 1; lane < 8; lane++) lanes[0] ^= lanes[lane];
  return lanes[0];
}

}  // namespace bitnet
