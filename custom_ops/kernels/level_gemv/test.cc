// Every row of the list that this CPU can run, against the formula, with ==.
#include "kernels/level_gemv/level_gemv.h"
#include "testing/levels.h"
#include "testing/ternary.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  LevelGemv* gemv[2];
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, {level_gemv_int4_##isa, level_gemv_int6_##isa}},
#include "kernels/level_gemv/kernels.inc"
};

struct Product {
  Product(int bits, size_t m, size_t n, size_t k)
      : m(m), w(bits, n, k), q(m * w.blocks * 256), x(m * w.blocks), sums(m * n) {}
  size_t m;
  LevelRows w;
  Guarded<int16_t> q;
  Guarded<SplitBlock> x;
  Guarded<int64_t> sums;

  // What the kernel reads of q.
  void split() {
    memset(x.data, 0, x.size() * sizeof(SplitBlock));
    for (size_t i = 0; i < q.size(); i++) {
      SplitBlock& block = x[i / 256];
      block.low[i % 256] = static_cast<int8_t>(q[i]);
      block.high[i % 256] = static_cast<int8_t>((q[i] - block.low[i % 256]) / 256);
      block.sums[i / 4 % 8] += q[i];
    }
  }
  void check(const Row& row) {
    split();
    row.gemv[w.bits == 6](m, w.n, w.blocks, x.data, w.codes.data, w.levels.data, sums.data, w.n);
    for (size_t r = 0; r < m; r++) {
      for (size_t n = 0; n < w.n; n++) {
        int64_t sum = 0;
        for (size_t k = 0; k < w.k; k++) {
          sum += static_cast<int64_t>(q[r * w.blocks * 256 + k]) * w.at(n, k);
        }
        CHECK(sums[r * w.n + n] == sum);
      }
    }
  }
};

}  // namespace

TEST(level_gemv, shapes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t k : kDepths) {
      for (size_t n = 1; n <= 4; n++) {
        for (int bits : {4, 6}) {
          const size_t m = 1 + (k + 5 * n) % kLevelRows;
          CASE("int%d_gemv_%s m %zu n %zu k %zu seed %zu", bits, row.isa, m, n, k, k * 300 + n);
          Random random = {k * 300 + n};
          Product t(bits, m, n, k);
          t.w.fill(&random);
          for (size_t i = 0; i < t.q.size(); i++) {
            const int q = static_cast<int>(random.below(65025)) - 32512;
            t.q[i] = static_cast<int16_t>(i % (t.w.blocks * 256) < k ? q : 0);
          }
          t.check(row);
        }
      }
    }
  }
}

TEST(level_gemv, extremes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t k : {size_t{6912}, kTestedK}) {
      for (int bits : {4, 6}) {
        Product t(bits, 3, 2, k);
        for (int code : {0, 255}) {
          for (int level : {-128, 127}) {
            for (int q : {-32512, -128, 127, 32512}) {
              CASE("int%d_gemv_%s k %zu, codes %d, levels %d, activations %d", bits, row.isa, k,
                   code, level, q);
              memset(t.w.codes.data, code, t.w.codes.size());
              memset(t.w.levels.data, level, t.w.levels.size());
              for (size_t i = 0; i < t.q.size(); i++) {
                t.q[i] = static_cast<int16_t>(i % (t.w.blocks * 256) < k ? q : 0);
              }
              t.check(row);
            }
          }
        }
      }
    }
  }
}
