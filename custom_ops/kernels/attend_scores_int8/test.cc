// Every row of the list that this CPU can run, against the formula, with ==.
#include "testing/attend.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  AttendScoresInt8* scores;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, attend_scores_int8_##isa},
#include "kernels/attend_scores_int8/kernels.inc"
};

// Heads with d elements and their keys. Integers of `query` and `cached` each, any where they are
// 0.
void check(const Row& row, size_t rows, size_t d, size_t positions, int query, int cached,
           bool bad) {
  const size_t width = padded_to(d, kPadInt8), stride = positions + 3;
  const size_t seed = rows * 1000000 + d * 1000 + positions;
  CASE("attend_scores_int8_%s rows %zu d %zu positions %zu query %d cached %d bad %d seed %zu",
       row.isa, rows, d, positions, query, cached, bad, seed);
  Random random = {seed};
  Guarded<int16_t> q(rows * width);
  Guarded<int8_t> k(positions * d);
  Guarded<float> k_scale(positions), factor(rows), scores(rows * stride - 3);
  for (size_t i = 0; i < q.size(); i++) {
    const int any = query ? query : static_cast<int>(random.below(65025)) - 32512;
    q[i] = static_cast<int16_t>(i % width < d ? any : 0);
  }
  for (size_t i = 0; i < k.size(); i++) {
    k[i] = static_cast<int8_t>(cached ? cached : static_cast<int>(random.next() & 255));
  }
  fill(&k_scale, &random, 1);
  fill(&factor, &random, 1);
  if (bad) k_scale[positions / 2] = NAN;
  const float untouched = 77.0f;
  for (size_t i = 0; i < scores.size(); i++) scores[i] = untouched;
  row.scores(rows, positions, d, q.data, k.data, k_scale.data, factor.data, k.data, scores.data,
             stride);
  for (size_t i = 0; i < scores.size(); i++) {
    const size_t r = i / stride, t = i % stride;
    int64_t sum = 0;
    for (size_t e = 0; t < positions && e < d; e++) sum += q[r * width + e] * k[t * d + e];
    const float expected = static_cast<float>(sum) * (t < positions ? k_scale[t] : 0) * factor[r];
    CHECK(same_bits(scores[i], t < positions ? expected : untouched));
  }
}

}  // namespace

TEST(attend_scores_int8, shapes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t d : {2, 6, 14, 16, 18, 30, 32, 34, 62, 64, 80, 100, 128, 130, 256, 512}) {
      for (size_t positions : {1, 2, 3, 4, 5, 7, 8, 15, 17, 33, 63, 64}) {
        for (size_t rows = 1; rows <= kAttendRows; rows++) {
          check(row, rows, d, positions, 0, 0, false);
          check(row, rows, d, positions, 0, 0, true);
        }
      }
    }
  }
}

TEST(attend_scores_int8, extremes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (int query : {-32512, 32512}) {
      for (int cached : {-128, 127}) check(row, 4, kAttendDepth, kAttendSpan, query, cached, false);
    }
  }
}
