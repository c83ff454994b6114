#include "operators/two_step_matmul/rescore.h"

namespace bitnet {

static constexpr float kPeak = 32512;    // of quantize_int16
static constexpr float kLarge = 0x1p48;  // 1 / act_scale, from where on the scan might overflow

float slack_of(const Kernels& kernels, const float* x, size_t k, int16_t* q) {
  const float inverse = 1.0f / kernels.quantize_int16(x, k, padded(k, kPadInt8), q);
  int64_t squares = 0;  // below 2^47, so its conversion is exact
  for (size_t i = 0; i < k; i++) squares += static_cast<int32_t>(q[i]) * q[i];
  const double norm = sqrt(static_cast<double>(squares));
  const double at_least = norm > kPeak ? norm : static_cast<double>(kPeak);
  if (inverse >= kLarge) return INFINITY;
  return static_cast<float>(at_least * static_cast<double>(inverse));
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
