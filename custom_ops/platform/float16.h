// float32 to float16, the same on all CPUs. Kernels of attention convert back.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

namespace bitnet {

// The nearest float16, ties to even: infinity from 65520 on, a multiple of 2^-24 below 2^-14. A NaN
// stays one. It has no branches, so that compilers vectorize a loop over it.
inline uint16_t round_f16(float x) {
  int32_t bits, small_bits;
  memcpy(&bits, &x, sizeof bits);
  const int32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  const float small = fabsf(x) + 0.5f;  // rounds to multiples of 2^-24 itself
  memcpy(&small_bits, &small, sizeof small_bits);
  // 13 bits of the significand go, and 112 from the exponent.
  const int32_t normal = (size - (112 << 23) + 0xfff + (size >> 13 & 1)) >> 13;
  // All ones where size is below the limit: comparisons would become branches.
  const auto below = [size](int32_t limit) { return (size - limit) >> 31; };
  const int32_t tiny = below(0x38800000), finite = below(0x477ff000), number = below(0x7f800001);
  const int32_t rounded = ((small_bits - 0x3f000000) & tiny) | (normal & ~tiny);      // 2^-14
  const int32_t half = (rounded & finite) | (0x7c00 & ~finite) | (0x0200 & ~number);  // 65520
  return static_cast<uint16_t>(sign | half);
}

}  // namespace bitnet
