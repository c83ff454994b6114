// Rows of activations for tests, and their quantization with libm.
#pragma once

#include "testing/check.h"
#include "testing/pools.h"
#include "testing/ternary.h"

// Round half to even, then clamp.
inline int quantized(float x, float scale, float low, float high) {
  return static_cast<int>(fminf(fmaxf(nearbyintf(x * scale), low), high));
}

inline float absmax(const float* x, size_t k) {
  float most = 0;
  for (size_t i = 0; i < k; i++) most = fmaxf(most, fabsf(x[i]));
  return fmaxf(most, 1e-5f);
}

inline bool finite(const float* x, size_t k) {
  for (size_t i = 0; i < k; i++) {
    if (!isfinite(x[i])) return false;
  }
  return true;
}

// x [m, k]; from the second row on, some rows hold a NaN or an infinity.
inline void fill_rows(Guarded<float>* x, size_t m, size_t k, Random* random) {
  for (size_t i = 0; i < m * k; i++) (*x)[i] = random->real() * 3;
  for (size_t i = 1; i < m; i += 3) (*x)[i * k + random->below(k)] = i % 2 ? NAN : -INFINITY;
}

inline const uint8_t* bytes_of(const Guarded<float>& x) {
  return reinterpret_cast<const uint8_t*>(x.data);
}

// m, k, n of matrix products: no row, one, few, many; full and partial blocks, tiles and tasks.
constexpr size_t kProducts[][3] = {{0, 5, 5},    {2, 7, 0},      {1, 1, 1},    {1, 257, 33},
                                   {3, 640, 70}, {1, 640, 900},  {5, 300, 65}, {6, 2560, 37},
                                   {9, 64, 600}, {130, 300, 40}, {515, 65, 35}};

// Calls check(kernels, m, k, n, pool) for all kernels, shapes and pools.
template <typename Check>
void for_products(const Check& check) {
  const bitnet::Kernels** list;
  const size_t count = tested_kernels(&list);
  for (size_t i = 0; i < count; i++) {
    for (const auto& s : kProducts) {
      for (const bitnet::Pool& pool : pools()) {
        check(*list[i], s[0], s[1], s[2], pool);
      }
    }
  }
}
