#include "operators/two_step_matmul/two_step_matmul.h"

#include <math.h>

#include "operators/int8_matmul/int8_matmul.h"
#include "platform/sizes.h"

namespace bitnet {
namespace {

constexpr size_t kParts = 4;      // tasks that look for the largest: few, as each fills a heap
constexpr size_t kTasks = 64;     // tasks that read rows of w: many, as these may lie together
constexpr float kPeak = 32512;    // of quantize_int16
constexpr float kLarge = 0x1p48;  // 1 / act_scale, from where on the scan might overflow

// What the bounds are multiplied by: see row_bounds in ternary.py. NaN where x is not finite.
float slack_of(const Kernels& kernels, const float* x, size_t k, int16_t* q) {
  const float inverse = 1.0f / kernels.quantize_int16(x, k, padded(k, kPadInt8), q);
  int64_t squares = 0;  // below 2^47, so its conversion is exact
  for (size_t i = 0; i < k; i++) squares += static_cast<int32_t>(q[i]) * q[i];
  const double norm = sqrt(static_cast<double>(squares));
  const double at_least = norm > kPeak ? norm : static_cast<double>(kPeak);
  if (inverse >= kLarge) return INFINITY;
  return static_cast<float>(at_least * static_cast<double>(inverse));
}

// A heap of the largest values so far, the smallest first: `value` replaces it.
void replace_first(float* heap, float value) {
  size_t i = 0;
  for (size_t child = 1; child < kKeep; child = 2 * i + 1) {
    if (child + 1 < kKeep && heap[child + 1] < heap[child]) child++;
    if (!(heap[child] < value)) break;
    heap[i] = heap[child];
    i = child;
  }
  heap[i] = value;
}

// The kKeep-th largest of y[n] - bound[n] * slack; -infinity where there are fewer. heaps: [kParts,
// kKeep]
float least_kept(const float* y, const float* bound, size_t n, float slack, float* heaps,
                 const Pool& pool) {
  for (size_t i = 0; i < kParts * kKeep; i++) heaps[i] = -INFINITY;
  const size_t share = padded(parts(n, kParts), 4096);
  parallel(pool, parts(n, share), [&](size_t task) {
    float* heap = heaps + task * kKeep;
    for (size_t i = task * share, end = smaller(n, i + share); i < end; i++) {
      const float low = y[i] - load_float(bound, i) * slack;
      if (low > heap[0]) replace_first(heap, low);
    }
  });
  for (size_t i = kKeep; i < kParts * kKeep; i++) {
    if (heaps[i] > heaps[0]) replace_first(heaps, heaps[i]);
  }
  return heaps[0];
}

inline void prefetch(const uint8_t* data, size_t bytes) {
#if defined(__GNUC__)
  for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(data + i);
#endif
}

// Replaces each result that may be `least` or more with the exact one, neighbours together. The
// next such row is prefetched meanwhile, as no hardware expects it.
void rescore(const Kernels& kernels, const TwoStepMatMul& op, const double* x, float slack,
             float least, float* y, const Pool& pool) {
  const size_t share = padded(parts(op.n, kTasks), 64), row_bytes = 2 * op.k;
  parallel(pool, parts(op.n, share), [&](size_t task) {
    const size_t end = smaller(op.n, (task + 1) * share);
    const auto asked_from = [&](size_t n) {
      while (n < end && y[n] + load_float(op.bound, n) * slack < least) n++;
      return n;
    };
    size_t read = 0;
    for (size_t n = asked_from(task * share), next; n < end; n = next) {
      size_t last = n + 1;
      while ((next = asked_from(last)) == last && last < end) last++;
      if (next < end) prefetch(op.w + next * row_bytes, row_bytes);
      kernels.bf16_gemv(last - n, op.k, x, op.w + n * row_bytes, y + n);
      read += last - n;
    }
    add_to(op.skipped, (end - task * share - read) * row_bytes);
  });
}

}  // namespace

// For the scan. After it: x in float64 and q, and the heaps.
size_t two_step_matmul_scratch(size_t m, size_t k) {
  const size_t scan = int8_matmul_scratch(m, k);
  const size_t rest =
      padded(k, kPadInt8) * (sizeof(double) + sizeof(int16_t)) + kParts * kKeep * sizeof(float);
  return scan > rest ? scan : rest;
}

void two_step_matmul(const Kernels& kernels, const TwoStepMatMul& op, void* scratch,
                     const Pool& pool) {
  if (op.n == 0) return;
  int8_matmul(
      kernels,
      {.m = op.m, .k = op.k, .n = op.n, .x = op.x, .w = op.scan, .scale = op.scale, .y = op.y},
      scratch, pool);
  const size_t stride = padded(op.k, kPadInt8);
  double* wide = static_cast<double*>(scratch);
  int16_t* q = reinterpret_cast<int16_t*>(wide + stride);
  float* heaps = reinterpret_cast<float*>(q + stride);
  for (size_t i = 0; i < op.m; i++) {
    const float* x = op.x + i * op.k;
    float* y = op.y + i * op.n;
    const float slack = slack_of(kernels, x, op.k, q);
    if (slack != slack) continue;
    const float least = least_kept(y, op.bound, op.n, slack, heaps, pool);
    kernels.widen_bf16(x, op.k, padded(op.k, kPadBf16), wide);
    rescore(kernels, op, wide, slack, least, y, pool);
  }
}

}  // namespace bitnet
