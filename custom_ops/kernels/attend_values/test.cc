// Every row of the list that this CPU can run, against the formula, with ==; every float16.
#include "testing/attend.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  AttendValues<float>* values;
  AttendValues<uint16_t>* values_f16;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, attend_values_##isa, attend_values_f16_##isa},
#include "kernels/attend_values/kernels.inc"
};

AttendValues<float>* function(const Row& row, float) { return row.values; }
AttendValues<uint16_t>* function(const Row& row, uint16_t) { return row.values_f16; }

bool same(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

template <typename Cache>
void check(const Row& row, size_t rows, size_t width, size_t d, size_t positions, bool bad) {
  CASE("attend_values_%s %zu bytes rows %zu width %zu d %zu positions %zu bad %d", row.isa,
       sizeof(Cache), rows, width, d, positions, bad);
  Random random = {rows * 1000000 + d * 1000 + positions};
  const size_t stride = positions + 3, size = padded_to(width, kPadHead), s_stride = size + 5;
  Guarded<Cache> v(positions * d);
  Guarded<double> weights(rows * stride - 3), sums((rows - 1) * s_stride + size),
      expected(sums.size());
  fill(&v, &random, 3);
  if (bad) put(random.below(2) ? NAN : -INFINITY, &v[random.below(v.size())]);
  for (size_t i = 0; i < weights.size(); i++) weights[i] = fabs(get(random.real()));
  for (size_t i = 0; i < sums.size(); i++) sums[i] = expected[i] = random.real();
  for (size_t r = 0; r < rows; r++) {
    for (size_t t = 0; t < positions; t++) {
      for (size_t i = 0; i < width; i++) {
        expected[r * s_stride + i] += weights[r * stride + t] * get(v[t * d + i]);
      }
    }
  }
  function(row, Cache())(rows, positions, width, d, weights.data, stride, v.data, sums.data,
                         s_stride);
  for (size_t i = 0; i < sums.size(); i++) {
    const size_t at = i % s_stride;
    CHECK(same(sums[i], expected[i]) || (width <= at && at < size));
  }
}

}  // namespace

TEST(attend_values, shapes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t d : kWidths) {
      for (size_t positions : kPositions) {
        for (size_t rows = 1; rows <= kAttendRows; rows++) {
          for (size_t width : {d, d / 2, d - 1}) {
            check<float>(row, rows, width, d, positions, false);
            check<uint16_t>(row, rows, width, d, positions, false);
          }
          check<float>(row, rows, d, d, positions, true);
          check<uint16_t>(row, rows, d, d, positions, true);
        }
      }
    }
  }
}

// As the kernel widens it: the sum of one position with the weight 1.
TEST(attend_values, every_float16) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    CASE("attend_values_f16_%s, every float16", row.isa);
    constexpr size_t kAll = 65536;
    const double weight = 1;
    Guarded<uint16_t> halves(kAll);
    Guarded<double> found(kAll);
    for (size_t i = 0; i < kAll; i++) {
      halves[i] = static_cast<uint16_t>(i);
      found[i] = 0;
    }
    row.values_f16(1, 1, kAll, kAll, &weight, 1, halves.data, found.data, 0);
    for (size_t i = 0; i < kAll; i++) CHECK(same(found[i], get(halves[i])));
  }
}
