#include "operators/two_step_matmul/rescore.h"

namespace bitnet {

static constexpr float kPeak = 32512;    // of quantize_int16
static constexpr float kLarge = 0x1p48;  // 1 / act_scale, from where on the scan might overflow
static constexpr size_t kBits = 16;      // |q| has 0 to 15
static constexpr double kPart = 3;       // an error of a weight is at most bound * kPart / sqrt(k)

// Sums of squares are below 2^47, so their conversion is exact.
static double root(int64_t squares) { return sqrt(static_cast<double>(squares)); }

static float slack(double norm, float inverse) {
  const double at_least = norm > kPeak ? norm : static_cast<double>(kPeak);
  if (inverse >= kLarge) return INFINITY;
  return static_cast<float>(at_least * static_cast<double>(inverse));
}

float slack_of(const Kernels& kernels, const float* x, size_t k, int16_t* q) {
  const float inverse = 1.0f / kernels.quantize_int16(x, k, padded(k, kPadInt8), q);
  int64_t squares = 0;
  for (size_t i = 0; i < k; i++) squares += static_cast<int32_t>(q[i]) * q[i];
  return slack(root(squares), inverse);
}

float split_slack_of(const Kernels& kernels, const float* x, size_t k, int16_t* q) {
  const float inverse = 1.0f / kernels.quantize_int16(x, k, padded(k, kPadInt8), q);
  int64_t sums[kBits] = {}, squares[kBits] = {}, small = 0, large = 0;  // by the bits of |q|
  for (size_t i = 0; i < k; i++) {
    const int32_t size = q[i] < 0 ? -q[i] : q[i];
    size_t bits = 0;
    while (size >> bits) bits++;
    sums[bits] += size;
    squares[bits] += size * size;
    small += size * size;
  }
  const double part = kPart / sqrt(static_cast<double>(k)), ratio = part < 1 ? part : 1;
  double norm = root(small);
  for (size_t bits = kBits; --bits;) {  // elements of so many bits and more are large
    large += sums[bits];
    small -= squares[bits];
    const double split = ratio * static_cast<double>(large) + root(small);
    if (split < norm) norm = split;
  }
  return slack(norm, inverse);
}

void replace_first(float* heap, size_t size, float value) {
  size_t i = 0;
  for (size_t child = 1; child < size; child = 2 * i + 1) {
    if (child + 1 < size && heap[child + 1] < heap[child]) child++;
    if (!(heap[child] < value)) break;
    heap[i] = heap[child];
    i = child;
  }
  heap[i] = value;
}

}  // namespace bitnet
