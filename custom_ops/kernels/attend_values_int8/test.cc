// Every row of the list that this CPU can run, against the formula, with ==.
#include "testing/attend.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  AttendValuesInt8* values;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, attend_values_int8_##isa},
#include "kernels/attend_values_int8/kernels.inc"
};

// Weights and values of `weight` and `cached` each, any where they are 0.
void check(const Row& row, size_t rows, size_t d, size_t positions, int weight, int cached,
           bool bad) {
  const size_t seed = rows * 1000000 + d * 1000 + positions, s_stride = padded_to(d, kPadHead) + 8;
  CASE("attend_values_int8_%s rows %zu d %zu positions %zu weight %d cached %d bad %d seed %zu",
       row.isa, rows, d, positions, weight, cached, bad, seed);
  Random random = {seed};
  Guarded<int16_t> p(rows * kAttendSpan);
  Guarded<int8_t> v(positions * d);
  Guarded<double> scale(rows), sums((rows - 1) * s_stride + padded_to(d, kPadHead));
  for (size_t i = 0; i < p.size(); i++) {
    const int any = weight ? weight : static_cast<int>(random.below(65025)) - 32512;
    p[i] = static_cast<int16_t>(i % kAttendSpan < positions ? any : 0);
  }
  for (size_t i = 0; i < v.size(); i++) {
    v[i] = static_cast<int8_t>(cached ? cached : static_cast<int>(random.next() & 255));
  }
  for (size_t r = 0; r < rows; r++) scale[r] = static_cast<double>(random.real());
  if (bad) scale[rows - 1] = NAN;
  for (size_t i = 0; i < sums.size(); i++) sums[i] = static_cast<double>(i);
  row.values(rows, positions, d, p.data, v.data, scale.data, v.data, sums.data, s_stride);
  for (size_t i = 0; i < sums.size(); i++) {
    const size_t r = i / s_stride, e = i % s_stride;
    int64_t sum = 0;
    for (size_t t = 0; t < positions && e < d; t++) sum += p[r * kAttendSpan + t] * v[t * d + e];
    const double expected =
        static_cast<double>(i) + (e < d ? static_cast<double>(sum) * scale[r] : 0);
    CHECK(same_bits(sums[i], expected) || (d <= e && e < padded_to(d, kPadHead)));
  }
}

}  // namespace

TEST(attend_values_int8, shapes) {
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

TEST(attend_values_int8, extremes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (int weight : {-32512, 32512}) {
      for (int cached : {-128, 127})
        check(row, 4, kAttendDepth, kAttendSpan, weight, cached, false);
    }
  }
}
