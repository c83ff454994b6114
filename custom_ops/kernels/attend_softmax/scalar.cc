#include <string.h>

#include "kernels/attend_softmax/attend_softmax.h"

namespace bitnet {

static inline float exponential(float x) {
  x = kExpLeast > x ? kExpLeast : x;
  const float shifted = x * kLog2E + kRoundMagic, n = shifted - kRoundMagic;
  uint32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float sum = kExpTerms[0];
  for (int i = 1; i < 8; i++) sum = sum * r + kExpTerms[i];
  bits = (bits - kRoundMagicBits + 127) << 23;
  float power;
  memcpy(&power, &bits, sizeof power);
  return sum * power;
}

double attend_softmax_scalar(size_t positions, const float* scores, double* weights) {
  float most = scores[0];
  for (size_t t = 1; t < positions; t++) most = most > scores[t] ? most : scores[t];
  double lanes[16] = {0};
  for (size_t t = 0; t < positions; t++) {
    weights[t] = static_cast<double>(exponential(scores[t] - most));
    lanes[t % 16] += weights[t];
  }
  for (size_t half = 8; half > 0; half /= 2) {
    for (size_t l = 0; l < half; l++) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

}  // namespace bitnet
