// Every row of the list that this CPU can run, against the formula, with ==.
#include "testing/ternary.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  TernaryColumns* columns;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, ternary_columns_##isa},
#include "kernels/ternary_columns/kernels.inc"
};

void check(const Row& row, size_t total, size_t count, size_t blocks, size_t seed) {
  CASE("ternary_columns_%s: %zu of %zu columns, %zu blocks, seed %zu", row.isa, count, total,
       blocks, seed);
  Random random = {seed};
  Some some(total, count, blocks, &random);
  Guarded<int8_t> q(count);
  for (size_t i = 0; i < count; i++) q[i] = static_cast<int8_t>(random.next());
  Guarded<int32_t> sums(blocks * 256);
  for (size_t n = 0; n < sums.size(); n++) sums[n] = kUntouched;
  row.columns(count, blocks, some.index.data, q.data, some.w.data, sums.data);
  std::vector<int32_t> expected(sums.size());
  for (size_t i = 0; i < count; i++) {
    add_product(q[i], weights_of(some.row(i), expected.size()), expected.data());
  }
  for (size_t n = 0; n < sums.size(); n++) CHECK(sums[n] == expected[n]);
}

}  // namespace

TEST(ternary_columns, some_columns) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t blocks = 1; blocks <= 11; blocks++) {
      for (size_t count : kCounts) {
        for (size_t total : {count, count + 1, 3 * count + 7}) {
          check(row, total, count, blocks, (blocks * 1000 + count) * 1000 + total);
        }
      }
    }
    check(row, 6912, 5000, 33, 1);
  }
}

// All codes and all activations the same.
TEST(ternary_columns, extremes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t count : {size_t{6912}, kTestedK}) {
      Random random = {count};
      Some some(count, count, 1, &random);
      Guarded<int8_t> q(count);
      Guarded<int32_t> sums(256);
      for (int weight_code = 0; weight_code < 4; weight_code++) {
        memset(some.w.data, weight_code * 0x55, some.w.size());
        for (int activation : {-128, -127, 0, 127}) {
          CASE("ternary_columns_%s: %zu columns, all codes %d, all activations %d", row.isa, count,
               weight_code, activation);
          memset(q.data, activation, count);
          row.columns(count, 1, some.index.data, q.data, some.w.data, sums.data);
          const int32_t expected = static_cast<int32_t>(count) * activation * (weight_code - 1);
          for (size_t n = 0; n < 256; n++) CHECK(sums[n] == expected);
        }
      }
    }
  }
}
