// Every row of the list that this CPU can run, against the formula, with ==.
#include "testing/ternary.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  TernaryGroup* group;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, ternary_group_##isa},
#include "kernels/ternary_group/kernels.inc"
};

// The formula, in its order.
double total(const uint8_t* row, const float* scale, const int8_t* q, size_t groups) {
  double total = 0;
  for (size_t g = 0; g < groups; g++) {
    int32_t sum = 0;
    for (size_t k = g * 128; k < (g + 1) * 128; k++) sum += q[k] * (code(row, k) - 1);
    total += static_cast<double>(sum) * static_cast<double>(scale[g]);
  }
  return total;
}

// Weights with any code, also past the last group, where activations are zero.
struct Grouped {
  size_t m, n, groups;
  Ternary t;
  Guarded<float> scale;
  Guarded<int32_t> q_sums;

  Grouped(size_t m, size_t n, size_t groups)
      : m(m), n(n), groups(groups), t(m, n, groups * 128), scale(n * groups), q_sums(m * groups) {}

  void check(const Row& row) {
    for (size_t i = 0; i < q_sums.size(); i++) {
      q_sums[i] = 0;
      for (size_t k = 0; k < 128; k++) q_sums[i] += t.row(i / groups)[i % groups * 128 + k];
    }
    const double untouched = 12345.0;
    const size_t stride = n + 3;
    Guarded<double> totals(m * stride - 3);
    for (size_t i = 0; i < totals.size(); i++) totals[i] = untouched;
    row.group(m, n, groups, t.q.data, q_sums.data, t.w.data, scale.data, totals.data, stride);
    for (size_t i = 0; i < m; i++) {
      for (size_t j = 0; j < n; j++) {
        const double expected =
            total(t.w.data + j * t.blocks * 64, scale.data + j * groups, t.row(i), groups);
        CHECK(same_bits(totals[i * stride + j], expected));
      }
      for (size_t j = n; j < stride && i + 1 < m; j++) CHECK(totals[i * stride + j] == untouched);
    }
  }
};

}  // namespace

TEST(ternary_group, shapes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t groups : {1, 2, 3, 4, 5, 20, 54}) {
      for (size_t m = 1; m <= 17; m++) {
        const size_t few = 1 + (m * 7 + groups) % 17, wide = 20 + m * 3;  // around 32, 48, 64
        for (size_t n : {few, groups < 10 ? wide : 3}) {
          const size_t seed = groups * 1000 + m;
          Random random = {seed};
          CASE("ternary_group_%s m %zu n %zu groups %zu seed %zu", row.isa, m, n, groups, seed);
          Grouped g(m, n, groups);
          g.t.fill(&random);
          for (size_t i = 0; i < g.scale.size(); i++) {
            g.scale[i] = ldexpf(random.real(), static_cast<int>(random.below(60)) - 30);
          }
          g.check(row);
        }
      }
    }
  }
}

TEST(ternary_group, extremes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t groups : {size_t{54}, kMaxK / 128}) {
      Grouped g(5, 3, groups);
      for (int weight_code = 0; weight_code < 4; weight_code++) {
        for (int activation : {-128, 0, 127}) {
          CASE("ternary_group_%s groups %zu, all codes %d, all activations %d", row.isa, groups,
               weight_code, activation);
          g.t.fill(weight_code, activation);
          for (size_t i = 0; i < g.scale.size(); i++) g.scale[i] = 0x1.fffffep+127f;
          g.check(row);
          for (size_t i = 0; i < g.scale.size(); i++) g.scale[i] = i % 2 ? -0x1p-149f : 0.0f;
          g.check(row);
          g.scale[groups] = NAN;  // of the second row alone
          g.scale[2 * groups] = INFINITY;
          g.check(row);
        }
      }
    }
  }
}
