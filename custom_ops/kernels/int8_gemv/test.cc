// Every row of the list that this CPU can run, against the formula, with ==.
#include "testing/ternary.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  Int8Gemv* gemv;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, int8_gemv_##isa},
#include "kernels/int8_gemv/kernels.inc"
};

struct Int8 {
  size_t n, k;
  Guarded<int8_t> w;
  Guarded<int16_t> q;
  Guarded<int64_t> sums;

  Int8(size_t n, size_t k)
      : n(n), k(k), w(n * k), q((k + kPadInt8 - 1) / kPadInt8 * kPadInt8), sums(n) {}

  void check(const Row& row) {
    row.gemv(n, k, q.data, reinterpret_cast<const uint8_t*>(w.data), sums.data);
    for (size_t i = 0; i < n; i++) {
      int64_t sum = 0;
      for (size_t j = 0; j < k; j++) sum += static_cast<int64_t>(q[j]) * w[i * k + j];
      CHECK(sums[i] == sum);
    }
  }
};

}  // namespace

TEST(int8_gemv, shapes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t k : kDepths) {
      for (size_t n = 1; n <= 9; n++) {
        CASE("int8_gemv_%s n %zu k %zu seed %zu", row.isa, n, k, k * 300 + n);
        Random random = {k * 300 + n};
        Int8 t(n, k);
        for (size_t i = 0; i < t.w.size(); i++) t.w[i] = static_cast<int8_t>(random.next());
        for (size_t i = 0; i < k; i++) t.q[i] = static_cast<int16_t>(random.below(65025)) - 32512;
        t.check(row);
      }
    }
  }
}

TEST(int8_gemv, extremes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t k : {size_t{6912}, size_t{9000}, size_t{kMaxK}}) {
      Int8 t(5, k);
      for (int weight : {-128, 127}) {
        for (int activation : {-32512, -128, 32512}) {
          CASE("int8_gemv_%s k %zu, all weights %d, all activations %d", row.isa, k, weight,
               activation);
          memset(t.w.data, weight, t.w.size());
          for (size_t i = 0; i < k; i++) t.q[i] = static_cast<int16_t>(activation);
          t.check(row);
        }
      }
    }
  }
}
