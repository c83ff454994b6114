// Every row of the list that this CPU can run, against plain loops, with ==.
#include <math.h>

#include "kernels/select/select.h"
#include "testing/check.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  SelectValues* values;
  SelectOpen* open;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, select_values_##isa, select_open_##isa},
#include "kernels/select/kernels.inc"
};

constexpr size_t kCounts[] = {0, 1, 15, 16, 17, 31, 32, 33, 64, 100, 255, 1000};

void check_values(const Row& row, size_t count, size_t share) {
  CASE("select_values %s count %zu %zu %%", row.isa, count, share);
  Random random = {count + share};
  Guarded<int8_t> q(count), values(count + kSelectSlack);
  Guarded<int32_t> index(count + kSelectSlack);
  for (size_t i = 0; i < count; i++) {
    q[i] = random.below(100) < share ? static_cast<int8_t>(random.next() | 1) : int8_t{0};
  }
  const size_t taken = row.values(count, q.data, index.data, values.data);
  size_t expected = 0;
  for (size_t i = 0; i < count; i++) {
    if (q[i] == 0) continue;
    CHECK(index[expected] == static_cast<int32_t>(i));
    CHECK(values[expected] == q[i]);
    expected++;
  }
  CHECK(taken == expected);
}

void check_open(const Row& row, size_t m, size_t count, size_t share) {
  CASE("select_open %s m %zu count %zu %zu %%", row.isa, m, count, share);
  const float odd[] = {NAN, -NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1e-30f, -1e-30f};
  Random random = {m + count + share};
  const size_t stride = count + 3;
  Guarded<float> y(m * stride);
  Guarded<int32_t> index(count + kSelectSlack);
  for (size_t i = 0; i < y.size(); i++) {
    y[i] = random.below(100) < share ? 0.5f : -1.0f;
    if (random.below(10) == 0) y[i] = odd[random.below(8)];
  }
  const size_t taken = row.open(m, count, y.data, stride, index.data);
  size_t expected = 0;
  for (size_t n = 0; n < count; n++) {
    bool open = false;
    for (size_t i = 0; i < m; i++) {
      const float gate = y[i * stride + n];
      open = open || isnan(gate) || (gate > 0 && gate * gate != 0);
    }
    if (open) CHECK(index[expected++] == static_cast<int32_t>(n));
  }
  CHECK(taken == expected);
}

}  // namespace

TEST(select, all) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t count : kCounts) {
      for (size_t share : {0, 1, 25, 50, 99, 100}) {
        check_values(row, count, share);
        for (size_t m : {1, 2, 16}) check_open(row, m, count, share);
      }
    }
  }
}
