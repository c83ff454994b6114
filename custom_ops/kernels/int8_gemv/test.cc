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
  size_t m, n, k, q_stride;
  Guarded<int8_t> w;
  Guarded<int16_t> q;
  Guarded<int64_t> sums;

  Int8(size_t m, size_t n, size_t k)
      : m(m),
        n(n),
        k(k),
        q_stride((k + kPadInt8 - 1) / kPadInt8 * kPadInt8),
        w(n * k),
        q(m * q_stride),
        sums(m * n) {}

  void check(const Row& row) {
    row.gemv(m, n, k, q.data, q_stride, reinterpret_cast<const uint8_t*>(w.data), sums.data, n);
    for (size_t r = 0; r < m; r++) {
      for (size_t i = 0; i < n; i++) {
        int64_t sum = 0;
        for (size_t j = 0; j < k; j++) {
          sum += static_cast<int64_t>(q[r * q_stride + j]) * w[i * k + j];
        }
        CHECK(sums[r * n + i] == sum);
      }
    }
  }
};

}  // namespace

TEST(int8_gemv, shapes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t k : kDepths) {
      for (size_t n = 1; n <= 9; n++) {
        const size_t m = 1 + (k + 5 * n) % kInt8Rows;
        CASE("int8_gemv_%s m %zu n %zu k %zu seed %zu", row.isa, m, n, k, k * 300 + n);
        Random random = {k * 300 + n};
        Int8 t(m, n, k);
        for (size_t i = 0; i < t.w.size(); i++) t.w[i] = static_cast<int8_t>(random.next());
        for (size_t i = 0; i < m * k; i++) {
          t.q[i / k * t.q_stride + i % k] = static_cast<int16_t>(random.below(65025)) - 32512;
        }
        t.check(row);
      }
    }
  }
}

TEST(int8_gemv, extremes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t k : {size_t{6912}, size_t{9000}, size_t{kMaxK}}) {
      Int8 t(k == 9000 ? 16 : 3, 5, k);
      for (int weight : {-128, 127}) {
        for (int activation : {-32512, -128, 32512}) {
          CASE("int8_gemv_%s k %zu, all weights %d, all activations %d", row.isa, k, weight,
               activation);
          memset(t.w.data, weight, t.w.size());
          for (size_t i = 0; i < t.m * k; i++) {
            t.q[i / k * t.q_stride + i % k] = static_cast<int16_t>(activation);
          }
          t.check(row);
        }
      }
    }
  }
}
