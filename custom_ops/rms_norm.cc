#include "rms_norm.h"

#include <math.h>

#include "sizes.h"

namespace bitnet {
namespace {

constexpr size_t kTaskElements = 16384;  // that are worth a task, some 10 us
constexpr size_t kLanes = 16;

double sum_of_squares(const float* x, size_t k) {
  double lanes[kLanes] = {0};
  size_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    for (size_t l = 0; l < kLanes; l++) {
      const double wide = static_cast<double>(x[i + l]);
      lanes[l] += wide * wide;
    }
  }
  for (size_t l = 0; i + l < k; l++) {
    const double wide = static_cast<double>(x[i + l]);
    lanes[l] += wide * wide;
  }
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t l = 0; l < half; l++) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

}  // namespace

void rms_norm(const RmsNorm& op, const Pool& pool) {
  const size_t rows = kTaskElements / op.k + 1;
  parallel(pool, parts(op.m, rows), [&](size_t task) {
    for (size_t row = task * rows; row < op.m && row < (task + 1) * rows; row++) {
      const float* x = op.x + row * op.k;
      if (op.residual) {
        const float* residual = op.residual + row * op.k;
        float* sum = op.sum + row * op.k;
        for (size_t i = 0; i < op.k; i++) sum[i] = x[i] + residual[i];
        x = sum;
      }
      float* y = op.y + row * op.k;
      const double mean = sum_of_squares(x, op.k) / static_cast<double>(op.k);
      const float inverse = static_cast<float>(1.0 / sqrt(mean + static_cast<double>(op.epsilon)));
      for (size_t i = 0; i < op.k; i++) y[i] = (x[i] * inverse) * load_float(op.weight, i);
    }
  });
}

}  // namespace bitnet
