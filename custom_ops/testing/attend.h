// Elements of caches for the tests of attention.
#pragma once

#include "platform/float16.h"
#include "testing/check.h"

constexpr size_t kWidths[] = {2, 6, 8, 10, 14, 32, 36, 40, 64, 80, 100, 128, 130};
constexpr size_t kPositions[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 64, 65, 140};

inline size_t padded_to(size_t d, size_t step) { return (d + step - 1) / step * step; }

// What a float16 stands for, by its definition.
inline float half_value(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 0x3ff;
  const float sign = half & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * ldexpf(static_cast<float>(fraction), -24);
  return sign * ldexpf(static_cast<float>(1024 + fraction), exponent - 25);
}

// What a cache of either type stores for x, and what that stands for.
inline void put(float x, float* to) { *to = x; }
inline void put(float x, uint16_t* to) { *to = bitnet::round_f16(x); }
inline double get(float stored) { return static_cast<double>(stored); }
inline double get(uint16_t stored) { return static_cast<double>(half_value(stored)); }

template <typename Cache>
void fill(Guarded<Cache>* x, Random* random, float size) {
  for (size_t i = 0; i < x->size(); i++) put(random->real() * size, x->data + i);
}
