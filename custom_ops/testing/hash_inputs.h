// Shapes and random inputs of the operators whose results are hashed.
#pragma once

#include <math.h>
#include <string.h>

#include "platform/sizes.h"
#include "testing/check.h"

namespace bitnet {

template <typename T>
void random_bits(Guarded<T>* x, Random* random) {
  for (size_t i = 0; i < x->size(); i++) (*x)[i] = static_cast<T>(random->next());
}

// Sizes from 2^-8 to 2^8; `zeros` percent are 0.
inline void random_floats(Guarded<float>* x, Random* random, size_t zeros = 0) {
  for (size_t i = 0; i < x->size(); i++) {
    const int size = static_cast<int>(random->below(17)) - 8;
    const float value = ldexpf(random->real(), size);
    (*x)[i] = random->below(100) < zeros ? 0 : value;
  }
}

inline void random_bf16(Guarded<uint8_t>* w, Random* random) {
  for (size_t i = 0; i < w->size(); i += 2) {
    const float value = random->real();
    memcpy(w->data + i, reinterpret_cast<const char*>(&value) + 2, 2);
  }
}

struct Shape {
  size_t m, k, n;
};
// Decode and prefill; full and partial blocks, tiles and tasks.
constexpr Shape kShapes[] = {{1, 1, 1},     {1, 640, 260},  {1, 2560, 70}, {2, 257, 33},
                             {3, 513, 100}, {4, 6912, 20},  {7, 300, 64},  {9, 1281, 47},
                             {33, 130, 96}, {129, 320, 17}, {1, 128, 900}};

// The inputs of all matrix products: x with a row that is not finite, weights of any bits.
struct Inputs {
  Random random;
  Guarded<float> x, y, scale;
  Guarded<uint8_t> w, other, scratch;
  Inputs(const Shape& s, size_t weights, size_t scales, size_t bytes, size_t zeros = 0)
      : random{s.m + 100 * s.k + 10000000 * s.n},
        x(s.m * s.k),
        y(s.m * s.n),
        scale(scales),
        w(weights),
        other(weights),
        scratch(padded(bytes, 64) + 64) {
    random_floats(&x, &random, zeros);
    if (s.m > 2) x[s.k + s.k / 2] = INFINITY;
    random_floats(&scale, &random);
    random_bits(&w, &random);
    random_bits(&other, &random);
  }
  const uint8_t* scales() const { return reinterpret_cast<const uint8_t*>(scale.data); }
};

// What a head of two steps gets: a bfloat16 table, one scale, and a bound for each row.
inline void random_bounds(float scale, Inputs* in, Guarded<float>* bound) {
  random_bf16(&in->w, &in->random);
  for (size_t i = 0; i < bound->size(); i++) {
    in->scale[i] = scale;
    (*bound)[i] = fabsf(in->random.real());
  }
}

}  // namespace bitnet
