// Every row of the list that this CPU can run, against scalar and the formula of the sum, with ==;
// exp against the one of libm.
#include "testing/attend.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  AttendSoftmax* softmax;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, attend_softmax_##isa},
#include "kernels/attend_softmax/kernels.inc"
};

double sum_of(size_t positions, const double* weights) {
  double lanes[16] = {0};
  for (size_t t = 0; t < positions; t++) lanes[t % 16] += weights[t];
  for (size_t half = 8; half > 0; half /= 2) {
    for (size_t l = 0; l < half; l++) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

void check(const Row& row, size_t positions, float size) {
  CASE("attend_softmax_%s positions %zu size %g", row.isa, positions, static_cast<double>(size));
  Random random = {positions};
  Guarded<float> scores(positions);
  Guarded<double> weights(positions), expected(positions);
  fill(&scores, &random, size);
  const double sum = row.softmax(positions, scores.data, weights.data);
  attend_softmax_scalar(positions, scores.data, expected.data);
  for (size_t t = 0; t < positions; t++) CHECK(weights[t] == expected[t]);
  CHECK(sum == sum_of(positions, weights.data));
  scores[random.below(positions)] = random.below(2) ? NAN : INFINITY;
  CHECK(isnan(row.softmax(positions, scores.data, weights.data)));
}

}  // namespace

TEST(attend_softmax, positions) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (float size : {1.0f, 30.0f, 300.0f}) {
      for (size_t positions = 1; positions <= 300; positions++) check(row, positions, size);
      for (size_t positions : {1000, 4096, 10001}) check(row, positions, size);
    }
  }
}

// Within 1 ulp of the true value over the whole range.
TEST(attend_softmax, exponential) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    CASE("exponential of attend_softmax_%s", row.isa);
    constexpr size_t kCount = 100001;
    Guarded<float> scores(kCount);
    Guarded<double> weights(kCount);
    for (size_t i = 0; i < kCount; i++) scores[i] = 5.0f - 90.0f * static_cast<float>(i) / kCount;
    row.softmax(kCount, scores.data, weights.data);
    for (size_t i = 0; i < kCount; i++) {
      const float x = scores[i] - 5.0f;
      const double truth = exp(fmax(static_cast<double>(x), -87.0));
      CHECK(fabs(weights[i] - truth) <= truth * 1.2e-7);
    }
    CHECK(weights[0] == 1.0);
  }
}
