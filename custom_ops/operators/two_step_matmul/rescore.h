// What the heads of two steps share: the largest of many values, and which rows of w are read.
#pragma once

#include <math.h>

#include <atomic>

#include "kernels/kernels.h"
#include "platform/compiler.h"
#include "platform/count.h"
#include "platform/pool.h"
#include "platform/sizes.h"

namespace bitnet {

// How many results of a row are exact; transformers samples from the 50 largest by default.
constexpr size_t kKeep = 64;
constexpr size_t kParts = 4;      // tasks that look for the largest: few, as each fills a heap
constexpr size_t kTasks = 64;     // tasks that read rows of w: many, as these may lie together
constexpr size_t kGlance = 64;    // values that are compared at once
constexpr size_t kListed = 1024;  // rows that are asked for before the first of them is read

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

// The `size`-th largest value that fill(begin, end, heap) finds in parts of [0, n), each with a
// heap of its own: -infinity where there are fewer. What a part has found, later ones begin with:
// as many values reach it, so nothing below counts. heaps: [kParts, size]
template <typename Fill>
float largest_of_parts(size_t size, size_t n, float* heaps, const Pool& pool, const Fill& fill) {
  for (size_t i = 0; i < kParts * size; i++) heaps[i] = -INFINITY;
  const size_t share = padded(parts(n, kParts), 4096);
  std::atomic<float> known(-INFINITY);
  parallel(pool, parts(n, share), [&](size_t task) {
    float* heap = heaps + task * size;
    for (size_t i = 0; i < size; i++) heap[i] = known;
    fill(task * share, smaller(n, (task + 1) * share), heap);
    if (heap[0] > known) known = heap[0];
  });
  for (size_t i = size; i < kParts * size; i++) {
    if (heaps[i] > heaps[0]) replace_first(heaps, size, heaps[i]);
  }
  return heaps[0];
}

// The `size`-th largest of value(i), i < n. Most values are none of them: a glance at several,
// which a compiler makes of vectors, tells so.
template <typename Value>
float largest(size_t size, size_t n, float* heaps, const Pool& pool, const Value& value) {
  return largest_of_parts(size, n, heaps, pool, [&](size_t begin, size_t end, float* heap) {
    for (size_t here; begin < end; begin += here) {
      here = smaller(kGlance, end - begin);
      const float least = heap[0];
      float values[kGlance];
      int larger = 0;
      for (size_t i = 0; i < here; i++) {
        values[i] = value(begin + i);
        larger += values[i] > least;
      }
      for (size_t i = 0; larger && i < here; i++) {
        if (values[i] > heap[0]) replace_first(heap, size, values[i]);
      }
    }
  });
}

struct Rescore {
  size_t k, n;
  const uint8_t* w;  // [n, k] bfloat16
  const double* x;   // padded
  float* y;          // [n]
  Count* skipped;    // or null
};

// take(n, exact result) for each row from begin to end that asked(n) names. Returns how many these
// are. While one is read the next one is fetched: no hardware expects rows that lie apart.
template <typename Asked, typename Take>
size_t read_rows(const Kernels& kernels, const Rescore& op, size_t begin, size_t end,
                 const Asked& asked, const Take& take) {
  const size_t row_bytes = 2 * op.k;
  size_t read = 0;
  for (size_t here; begin < end; begin += here) {
    here = smaller(kListed, end - begin);
    size_t list[kListed], count = 0;
    for (size_t i = 0; i < here; i++) {
      list[count] = begin + i;
      count += asked(begin + i) ? 1 : 0;
    }
    for (size_t i = 0; i < count; i++) {
      const uint8_t* next = op.w + list[i + 1 < count ? i + 1 : i] * row_bytes;
      float exact;
      kernels.bf16_gemv(1, 1, op.k, op.x, 0, op.w + list[i] * row_bytes, next, &exact, 0);
      take(list[i], exact);
    }
    read += count;
  }
  return read;
}

// Replaces each result that `asked` names with the exact one.
template <typename Asked>
void rescore(const Kernels& kernels, const Rescore& op, const Pool& pool, const Asked& asked) {
  const size_t share = padded(parts(op.n, kTasks), 64);
  parallel(pool, parts(op.n, share), [&](size_t task) {
    const size_t begin = task * share, end = smaller(op.n, begin + share);
    const size_t read =
        read_rows(kernels, op, begin, end, asked, [&](size_t n, float exact) { op.y[n] = exact; });
    add_to(op.skipped, (end - begin - read) * 2 * op.k);
  });
}

}  // namespace bitnet
