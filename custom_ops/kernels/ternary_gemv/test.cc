// Every row of the list that this CPU can run, against the formulas, with ==.
#include "testing/ternary.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  TernaryGemv* gemv;
  TernarySelect* select;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, ternary_gemv_##isa, ternary_select_##isa},
#include "kernels/ternary_gemv/kernels.inc"
};

void check_gemv(const Row& row, Ternary* t) {
  Guarded<int32_t> sums(t->n);
  for (size_t i = 0; i < t->m; i++) {
    row.gemv(t->n, t->blocks, t->row(i), t->q_sums[i], t->w.data, sums.data);
    for (size_t j = 0; j < t->n; j++) CHECK(sums[j] == t->products(j)[i]);
  }
}

void check_select(const Row& row, const Some& some, const int8_t* q, int32_t q_sum) {
  Guarded<int32_t> expected(some.count);
  for (size_t i = 0; i < some.count; i++) {
    expected[i] = product(q, weights_of(some.row(i), some.blocks * 256));
  }
  for (size_t count : {some.count, some.count / 2, some.count / 5}) {  // the others are known
    Guarded<int32_t> sums(count);
    row.select(count, some.count, some.blocks, q, q_sum, some.w.data, some.index.data, sums.data);
    for (size_t i = 0; i < count; i++) CHECK(sums[i] == expected[i]);
  }
}

}  // namespace

TEST(ternary_gemv, all_rows) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t k : kDepths) {
      for (size_t n = 1; n <= 17; n++) {
        const size_t seed = k * 1000 + n;
        CASE("ternary_gemv_%s n %zu k %zu seed %zu", row.isa, n, k, seed);
        Random random = {seed};
        Ternary t(1 + n % 3, n, k);
        t.fill(&random);
        check_gemv(row, &t);
      }
    }
  }
}

TEST(ternary_gemv, extremes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t k : {size_t{6912}, kTestedK}) {
      Ternary t(1, 5, k);
      for (int weight_code = 0; weight_code < 4; weight_code++) {
        for (int activation : {-128, -127, 0, 127}) {
          CASE("ternary_gemv_%s k %zu, all codes %d, all activations %d", row.isa, k, weight_code,
               activation);
          t.fill(weight_code, activation);
          check_gemv(row, &t);
        }
      }
    }
  }
}

TEST(ternary_gemv, some_rows) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t blocks : {1, 2, 3, 5, 6, 10, 11, 27}) {
      for (size_t count : kCounts) {
        for (size_t total : {count, count + 1, 3 * count + 7}) {
          const size_t seed = (blocks * 1000 + count) * 1000 + total;
          CASE("ternary_select_%s: %zu of %zu rows, %zu blocks, seed %zu", row.isa, count, total,
               blocks, seed);
          Random random = {seed};
          Some some(total, count, blocks, &random);
          Guarded<int8_t> q(blocks * 256);
          for (size_t i = 0; i < q.size(); i++) q[i] = static_cast<int8_t>(random.next());
          if (count % 3 == 0) memset(q.data, -128, q.size());
          int32_t q_sum = 0;
          for (size_t i = 0; i < q.size(); i++) q_sum += q[i];
          check_select(row, some, q.data, q_sum);
        }
      }
    }
  }
}
