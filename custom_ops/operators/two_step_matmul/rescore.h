// What the heads of two steps share: the largest of many values, and which rows of w are read.
#pragma once

#include <math.h>

#include "kernels/kernels.h"
#include "platform/count.h"
#include "platform/pool.h"
#include "platform/sizes.h"

namespace bitnet {

// How many results of a row are exact; transformers samples from the 50 largest by default.
constexpr size_t kKeep = 64;
constexpr size_t kParts = 4;   // tasks that look for the largest: few, as each fills a heap
constexpr size_t kTasks = 64;  // tasks that read rows of w: many, as these may lie together

// What the bounds are multiplied by: see row_bounds in ternary.py. NaN where x is not finite. q has
// room for x, padded.
float slack_of(const Kernels& kernels, const float* x, size_t k, int16_t* q);

// The same for level_bounds in levels.py: few large elements of x count less.
float split_slack_of(const Kernels& kernels, const float* x, size_t k, int16_t* q);

// Scratch of the second step: x in float64 and q, each padded, and the heaps of `largest`.
struct SecondStep {
  double* x;
  int16_t* q;
  float* heaps;
};

inline size_t second_step_bytes(size_t k, size_t largest_size) {
  return padded(k, kPadInt8) * (sizeof(double) + sizeof(int16_t)) +
         kParts * largest_size * sizeof(float);
}

inline SecondStep second_step_of(void* scratch, size_t k) {
  const size_t stride = padded(k, kPadInt8);
  double* x = static_cast<double*>(scratch);
  int16_t* q = reinterpret_cast<int16_t*>(x + stride);
  return {x, q, reinterpret_cast<float*>(q + stride)};
}

// A heap of the `size` largest values so far, the smallest first: `value` replaces it.
void replace_first(float* heap, size_t size, float value);

// The `size`-th largest of value(i), i < n; -infinity where there are fewer. heaps: [kParts, size]
template <typename Value>
float largest(size_t size, size_t n, float* heaps, const Pool& pool, const Value& value) {
  for (size_t i = 0; i < kParts * size; i++) heaps[i] = -INFINITY;
  const size_t share = padded(parts(n, kParts), 4096);
  parallel(pool, parts(n, share), [&](size_t task) {
    float* heap = heaps + task * size;
    for (size_t i = task * share, end = smaller(n, i + share); i < end; i++) {
      const float found = value(i);
      if (found > heap[0]) replace_first(heap, size, found);
    }
  });
  for (size_t i = size; i < kParts * size; i++) {
    if (heaps[i] > heaps[0]) replace_first(heaps, size, heaps[i]);
  }
  return heaps[0];
}

inline void prefetch(const uint8_t* data, size_t bytes) {
#if defined(__GNUC__)
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(data + i);
#endif
}

struct Rescore {
  size_t k, n;
  const uint8_t* w;  // [n, k] bfloat16
  const double* x;   // padded
  float* y;          // [n]
  Count* skipped;    // or null
};

// Replaces each result that `asked` names with the exact one, neighbours together. The next such
// row is prefetched meanwhile, as no hardware expects it.
template <typename Asked>
void rescore(const Kernels& kernels, const Rescore& op, const Pool& pool, const Asked& asked) {
  const size_t share = padded(parts(op.n, kTasks), 64), row_bytes = 2 * op.k;
  parallel(pool, parts(op.n, share), [&](size_t task) {
    const size_t end = smaller(op.n, (task + 1) * share);
    const auto asked_from = [&](size_t n) {
      while (n < end && !asked(n)) n++;
      return n;
    };
    size_t read = 0;
    for (size_t n = asked_from(task * share), next; n < end; n = next) {
      size_t last = n + 1;
      while ((next = asked_from(last)) == last && last < end) last++;
      if (next < end) prefetch(op.w + next * row_bytes, row_bytes);
      kernels.bf16_gemv(1, last - n, op.k, op.x, 0, op.w + n * row_bytes, op.y + n, 0);
      read += last - n;
    }
    add_to(op.skipped, (end - task * share - read) * row_bytes);
  });
}

}  // namespace bitnet
