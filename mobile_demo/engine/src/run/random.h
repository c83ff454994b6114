// Numbers for sampling: xoshiro128** (Blackman and Vigna, 2018), seeded by SplitMix32, as in the
// page for browsers: a seed gives the same draws there. NumPy's differ.
#pragma once

#include <stdint.h>

namespace edge {

class Random {
 public:
  explicit Random(uint64_t seed) {
    // Both halves of a seed count.
    uint32_t mixed = static_cast<uint32_t>(seed >> 32) * 0x85ebca6b ^ static_cast<uint32_t>(seed);
    for (uint32_t& word : state_) {
      mixed += 0x9e3779b9;
      word = (mixed ^ (mixed >> 16)) * 0x21f0aaad;
      word = (word ^ (word >> 15)) * 0x735a2d97;
      word ^= word >> 15;
    }
  }

  // A number in [0, 1) with 53 random bits.
  double next() {
    const uint32_t high = word() >> 5, low = word() >> 6;
    return (high * 67108864.0 + low) / 9007199254740992.0;
  }

 private:
  uint32_t word() {
    uint32_t* s = state_;
    const uint32_t result = rotated(s[1] * 5, 7) * 9, shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotated(s[3], 11);
    return result;
  }
  static uint32_t rotated(uint32_t word, int bits) { return word << bits | word >> (32 - bits); }

  uint32_t state_[4];
};

}  // namespace edge
