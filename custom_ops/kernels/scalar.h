// Shared by the scalar kernels, which are the specification.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace bitnet {

// sums[n] += q * (code n of one block)
static inline void add_column(int8_t q, const uint8_t* bytes, int32_t* sums) {
  for (int field = 0; field < 4; field++) {
    for (int c = 0; c < 64; c++) {
      sums[64 * field + c] += static_cast<int16_t>(q) * ((bytes[c] >> (2 * field)) & 3);
    }
  }
}

// An element of a cache in float32.
static inline float widen(float x) { return x; }

static inline float widen(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, size = half & 0x7fff;
  uint32_t bits;
  if (size > 0x7c00) {
    bits = 0x7fc00000 | size << 13;
  } else if (size == 0x7c00) {
    bits = 0x7f800000;
  } else if (size >= 0x400) {
    bits = (size << 13) + (112u << 23);
  } else {  // size * 2^-24, exact in float32
    const float value = static_cast<float>(size) * 0x1p-24f;
    memcpy(&bits, &value, sizeof bits);
  }
  bits |= sign;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace bitnet
