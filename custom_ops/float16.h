// float32 to float16, once for all CPUs. The way back is a kernel: WidenF16.
#pragma once

#include <stdint.h>
#include <string.h>

namespace bitnet {

// The nearest float16, ties to even; from 65520 on infinity, below 2^-14 a multiple of 2^-24. A NaN
// stays one.
inline uint16_t round_f16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  uint32_t half;
  if (size > 0x7f800000) {
    half = 0x7e00;
  } else if (size >= 0x477ff000) {  // 65520
    half = 0x7c00;
  } else if (size >= 0x38800000) {  // 2^-14: 13 bits go, and 112 from the exponent
    half = (size - (112u << 23) + 0xfff + (size >> 13 & 1)) >> 13;
  } else if (size >= 0x33000000) {  // 2^-25: 14 to 24 bits go from the significand
    const uint32_t significand = (size & 0x7fffff) | 0x800000, lost = 126 - (size >> 23);
    half = (significand + (1u << (lost - 1)) - 1 + (significand >> lost & 1)) >> lost;
  } else {
    half = 0;
  }
  return static_cast<uint16_t>(sign | half);
}

}  // namespace bitnet
