// Small sums over sizes, and float32 inputs that may lie at any address, as initializers do.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernel.h"

namespace bitnet {

// Fewer activation rows go over ternary weights one by one, each skipping what it can: to unpack
// panels for them would take longer (measured with AVX2 and AVX-512 VNNI, half of the gates zero).
constexpr size_t kGemmRows = 6;

inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
inline size_t parts(size_t whole, size_t part) { return (whole + part - 1) / part; }
inline size_t padded(size_t size, size_t step) { return parts(size, step) * step; }
inline size_t blocks_of(size_t k) { return parts(k, kBlockK); }

inline float load_float(const void* floats, size_t i) {
  float value;
  memcpy(&value, static_cast<const char*>(floats) + i * sizeof value, sizeof value);
  return value;
}

}  // namespace bitnet
