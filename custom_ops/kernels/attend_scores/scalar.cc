#include "kernels/scalar.h"

#include "kernels/attend_scores/attend_scores.h"

namespace bitnet {

template <typename Cache>
static void score(size_t rows, size_t positions, size_t d, const double* q, const Cache* k,
                  float root, float* scores, size_t stride) {
  const size_t padded = (d + kPadHead - 1) / kPadHead * kPadHead;
  for (size_t t = 0; t < positions; t++, k += d) {
    for (size_t r = 0; r < rows; r++) {
      double lanes[8] = {0};
      for (size_t i = 0; i < d; i++) {
        lanes[i % 8] += q[r * padded + i] * static_cast<double>(widen(k[i]));
      }
      for (size_t half = 4; half > 0; half /= 2) {
        for (size_t l = 0; l < half; l++) lanes[l] += lanes[l + half];
      }
      scores[r * stride + t] = static_cast<float>(lanes[0]) / root;
    }
  }
}

void attend_scores_scalar(size_t rows, size_t positions, size_t d, const double* q, const float* k,
                          float root, float* scores, size_t stride) {
  score(rows, positions, d, q, k, root, scores, stride);
}

void attend_scores_f16_scalar(size_t rows, size_t positions, size_t d, const double* q,
                              const uint16_t* k, float root, float* scores, size_t stride) {
  score(rows, positions, d, q, k, root, scores, stride);
}

}  // namespace bitnet
