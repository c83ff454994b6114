// Every row of the list that this CPU can run, against the formula, with ==.
#include "testing/attend.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  AttendScores<float>* scores;
  AttendScores<uint16_t>* scores_f16;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, attend_scores_##isa, attend_scores_f16_##isa},
#include "kernels/attend_scores/kernels.inc"
};

AttendScores<float>* function(const Row& row, float) { return row.scores; }
AttendScores<uint16_t>* function(const Row& row, uint16_t) { return row.scores_f16; }

template <typename Cache>
float product(size_t d, const double* q, const Cache* k) {
  double lanes[8] = {0};
  for (size_t i = 0; i < d; i++) lanes[i % 8] += q[i] * get(k[i]);
  for (size_t half = 4; half > 0; half /= 2) {
    for (size_t l = 0; l < half; l++) lanes[l] += lanes[l + half];
  }
  return static_cast<float>(lanes[0]);
}

template <typename Cache>
void check(const Row& row, size_t rows, size_t d, size_t positions, bool bad) {
  CASE("attend_scores_%s %zu bytes rows %zu d %zu positions %zu bad %d", row.isa, sizeof(Cache),
       rows, d, positions, bad);
  Random random = {rows * 1000000 + d * 1000 + positions};
  const size_t padded = padded_to(d, kPadHead), stride = positions + 3;
  Guarded<Cache> k(positions * d);
  Guarded<double> q(rows * padded);
  fill(&k, &random, 3);
  for (size_t r = 0; r < rows; r++) {
    for (size_t i = 0; i < padded; i++) q[r * padded + i] = i < d ? random.real() * 9 : 0.0;
  }
  if (bad) put(random.below(2) ? NAN : INFINITY, &k[random.below(k.size())]);
  const float untouched = 77.0f, root = sqrtf(static_cast<float>(d));
  Guarded<float> scores(rows * stride - 3);
  for (size_t i = 0; i < scores.size(); i++) scores[i] = untouched;
  function(row, Cache())(rows, positions, d, q.data, k.data, root, scores.data, stride);
  for (size_t i = 0; i < scores.size(); i++) {
    const size_t r = i / stride, t = i % stride;
    const float expected =
        t < positions ? product(d, q.data + r * padded, k.data + t * d) / root : untouched;
    CHECK(same_bits(scores[i], expected));
  }
}

}  // namespace

TEST(attend_scores, shapes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t d : kWidths) {
      for (size_t positions : kPositions) {
        for (size_t rows = 1; rows <= kAttendRows; rows++) {
          for (bool bad : {false, true}) {
            check<float>(row, rows, d, positions, bad);
            check<uint16_t>(row, rows, d, positions, bad);
          }
        }
      }
    }
  }
}
