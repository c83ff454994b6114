// Arithmetic with sizes, and float32 inputs at any address, as initializers are.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace bitnet {

inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
inline size_t larger(size_t a, size_t b) { return a < b ? b : a; }
inline size_t parts(size_t whole, size_t part) { return (whole + part - 1) / part; }
inline size_t padded(size_t size, size_t step) { return parts(size, step) * step; }

inline float load_float(const void* floats, size_t i) {
  float value;
  memcpy(&value, static_cast<const char*>(floats) + i * sizeof value, sizeof value);
  return value;
}

}  // namespace bitnet
