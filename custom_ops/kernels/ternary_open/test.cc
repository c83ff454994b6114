// Every row of the list that this CPU can run, against the formula, with ==.
#include "testing/ternary.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  TernaryOpen* open;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, ternary_open_##isa},
#include "kernels/ternary_open/kernels.inc"
};

// Of the gates `share` percent are open, and some are odd.
void check_open(const Row& row, Ternary* t, size_t share, Random* random) {
  const float odd[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1e-30f, -1e-30f};
  const size_t gates_stride = t->n + 5, stride = t->n + 3;
  Guarded<float> gates(t->m * gates_stride - 5);
  Guarded<int32_t> sums(t->m * stride - 3);
  for (size_t i = 0; i < gates.size(); i++) {
    gates[i] = random->below(100) < share ? 0.5f : -1.0f;
    if (share < 100 && random->below(20) == 0) gates[i] = odd[random->below(7)];
  }
  for (size_t i = 0; i < sums.size(); i++) sums[i] = kUntouched;
  row.open(t->m, t->n, t->blocks, t->q.data, t->q_sums.data, t->w.data, gates.data, gates_stride,
           sums.data, stride);
  for (size_t n = 0; n < t->n; n++) {
    const std::vector<int32_t> expected = t->products(n);
    for (size_t i = 0; i < t->m; i++) {
      const float gate = gates[i * gates_stride + n];
      const bool open = isnan(gate) || (gate > 0 && gate * gate != 0);
      CHECK(sums[i * stride + n] == (open ? expected[i] : 0));
    }
  }
  for (size_t i = 0; i + 1 < t->m; i++) {
    for (size_t n = t->n; n < stride; n++) CHECK(sums[i * stride + n] == kUntouched);
  }
}

}  // namespace

TEST(ternary_open, shapes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t k : {1, 256, 257, 1024}) {
      for (size_t m = 1; m <= kFewActivations; m++) {
        for (size_t share : {0, 5, 50, 90, 100}) {
          const size_t n = 1 + (m * 7 + k + share) % 90, seed = k * 1000 + m * 101 + share;
          CASE("ternary_open_%s m %zu n %zu k %zu %zu %% seed %zu", row.isa, m, n, k, share, seed);
          Random random = {seed};
          Ternary t(m, n, k);
          t.fill(&random);
          check_open(row, &t, share, &random);
        }
      }
    }
  }
}

// All codes and all activations the same.
TEST(ternary_open, extremes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    Ternary t(2, 3, kTestedK);
    for (int weight_code = 0; weight_code < 4; weight_code++) {
      for (int activation : {-128, 127}) {
        CASE("ternary_open_%s, all codes %d, all activations %d", row.isa, weight_code, activation);
        Random random = {1};
        t.fill(weight_code, activation);
        check_open(row, &t, 100, &random);
      }
    }
  }
}
