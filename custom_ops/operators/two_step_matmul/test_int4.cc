// TwoStepInt4MatMul against all of Bf16MatMul: what is exact while the bounds hold, what is read.
#include "operators/bf16_matmul/bf16_matmul.h"
#include "operators/int4_matmul/int4_matmul.h"
#include "operators/two_step_matmul/two_step_int4_matmul.h"
#include "testing/check.h"
#include "testing/int4.h"
#include "testing/pools.h"

using namespace bitnet;

namespace {

// A table and its copy of 4 bits, with bounds that always hold: Cauchy-Schwarz, in float64.
struct Table {
  template <typename Row>
  Table(size_t n, size_t k, const Row& row)
      : n(n), k(k), w(2 * n * k), scan(4, n, k), scale(n), bound(n) {
    Guarded<float> values(k);
    for (size_t r = 0; r < n; r++) {
      float most = 1e-5f;
      for (size_t i = 0; i < k; i++) {
        const float value = row(r, i);
        memcpy(w.data + 2 * (r * k + i), reinterpret_cast<const char*>(&value) + 2, 2);
        values[i] = 0;
        memcpy(reinterpret_cast<char*>(&values[i]) + 2, w.data + 2 * (r * k + i), 2);
        most = fmaxf(most, fabsf(values[i]));
      }
      scale[r] = most / 700;  // all levels are 100, and codes go from 1 to 15
      round(r, values);
    }
  }
  void round(size_t r, Guarded<float>& values) {
    memset(scan.codes.data + r * scan.row_bytes(), 0, scan.row_bytes());
    memset(scan.levels.data + r * scan.blocks * 8, 100, scan.blocks * 8);
    double size = 0, error = 0;
    for (size_t i = 0; i < k; i++) {
      const int code = 8 + static_cast<int>(nearbyintf(values[i] / (100 * scale[r])));
      uint8_t* byte = scan.codes.data + r * scan.row_bytes() + i / 128 * 64 + i % 64;
      *byte = static_cast<uint8_t>(*byte | code << (i / 64 % 2 * 4));
      const double miss = values[i] - 100.0 * (code - 8) * static_cast<double>(scale[r]);
      size += fabs(static_cast<double>(values[i]));
      error += miss * miss;
    }
    bound[r] = static_cast<float>((sqrt(error) + size / 62000) * (1 + 0x1p-20) + 0x1p-126);
  }

  size_t n, k;
  Guarded<uint8_t> w;
  Int4Rows scan;
  Guarded<float> scale, bound;
};

// Fills y and returns how many rows of w were read.
uint64_t run(const Kernels& kernels, const Table& t, size_t m, const float* x, const Pool& pool,
             float* y) {
  Guarded<uint8_t> scratch(two_step_int4_matmul_scratch(m, t.k) / 64 * 64 + 64);
  Count skipped(0);
  two_step_int4_matmul(kernels,
                       {.m = m,
                        .k = t.k,
                        .n = t.n,
                        .x = x,
                        .w = t.w.data,
                        .codes = t.scan.codes.data,
                        .levels = reinterpret_cast<const uint8_t*>(t.scan.levels.data),
                        .scale = t.scale.data,
                        .bound = t.bound.data,
                        .y = y,
                        .skipped = &skipped},
                       scratch.data, pool);
  return m * t.n - skipped / (2 * t.k);
}

int descending(const void* a, const void* b) {
  const float x = *static_cast<const float*>(a), y = *static_cast<const float*>(b);
  return x < y ? 1 : x > y ? -1 : 0;
}

// As in test.cc: all results that reach the kKeep-th largest exact one are exact, the others are
// below it, and every kernel and pool gives the same bits.
uint64_t check(const char* what, const Table& t, size_t m, const float* x) {
  const Kernels** list;
  const size_t kernels = tested_kernels(&list);
  Guarded<float> exact(m * t.n), sorted(t.n), first(m * t.n), other(m * t.n);
  Guarded<uint8_t> scratch(bf16_matmul_scratch(m, t.k) / 64 * 64 + 64);
  bf16_matmul(*list[0], {m, t.k, t.n, x, t.w.data, exact.data}, scratch.data, kBackwards);
  const uint64_t rescored = run(*list[0], t, m, x, kBackwards, first.data);
  for (size_t i = 0; i < kernels; i++) {
    for (const Pool& pool : pools()) {
      CASE("%s, %s, m %zu k %zu n %zu", what, list[i]->name, m, t.k, t.n);
      CHECK(run(*list[i], t, m, x, pool, other.data) == rescored);
      CHECK(memcmp(other.data, first.data, m * t.n * sizeof(float)) == 0);
    }
  }
  for (size_t i = 0; i < m; i++) {
    const float *y = first.data + i * t.n, *e = exact.data + i * t.n;
    memcpy(sorted.data, e, t.n * sizeof(float));
    qsort(sorted.data, t.n, sizeof(float), descending);
    const float least = t.n < kKeep ? -INFINITY : sorted[kKeep - 1];
    for (size_t n = 0; n < t.n; n++) CHECK(e[n] >= least ? y[n] == e[n] : y[n] < least);
  }
  return rescored;
}

void random_x(Guarded<float>* x, Random* random) {
  for (size_t i = 0; i < x->size(); i++) (*x)[i] = random->real() * 3;
}

}  // namespace

TEST(two_step_matmul, int4_random) {
  const size_t shapes[][3] = {{0, 5, 5},     {2, 7, 0},    {1, 1, 1},
                              {3, 33, 127},  {2, 16, 128}, {2, 257, 129},
                              {1, 640, 900}, {5, 64, 200}, {2, 2560, 999}};
  for (const auto& s : shapes) {
    Random random = {s[0] + s[1] + s[2]};
    const Table t(s[2], s[1], [&](size_t, size_t) { return random.real(); });
    Guarded<float> x(s[0] * s[1]);
    random_x(&x, &random);
    const uint64_t rescored = check("random, seed m + k + n", t, s[0], x.data);
    CHECK(rescored >= s[0] * (s[2] < kFirst ? s[2] : kFirst));
  }
}

TEST(two_step_matmul, int4_bounds) {
  Random random = {7};
  const size_t n = 900, k = 300;
  Table t(n, k, [&](size_t, size_t) { return random.real(); });
  Guarded<float> x(k);
  random_x(&x, &random);
  for (size_t r = 0; r < n; r++) t.bound[r] /= 12;
  CHECK(check("narrow bounds", t, 1, x.data) < n / 2);
  for (size_t r = 0; r < n; r++) t.bound[r] = INFINITY;
  CHECK(check("no bounds", t, 1, x.data) == n);
  Guarded<float> y(n);
  for (size_t r = 0; r < n; r++) t.bound[r] = 0;
  CHECK(run(*find_kernels(nullptr), t, 1, x.data, kThreads, y.data) >= kFirst);
  for (size_t i = 0; i < k; i++) x[i] = 0;
  CHECK(check("no x", t, 1, x.data) == n);
  const Table equal(n, k, [&](size_t, size_t i) { return static_cast<float>(i % 9) - 3; });
  random_x(&x, &random);
  CHECK(check("equal rows", equal, 1, x.data) == n);
}

TEST(two_step_matmul, int4_not_finite) {
  Random random = {9};
  const size_t n = 200, k = 40;
  const Table t(n, k, [&](size_t, size_t) { return random.real(); });
  const Kernels** list;
  const size_t kernels = tested_kernels(&list);
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    Guarded<float> x(3 * k), whole(3 * n), alone(n);
    random_x(&x, &random);
    x[k + 7] = bad;
    for (size_t i = 0; i < kernels; i++) {
      CASE("%s, %f in x", list[i]->name, static_cast<double>(bad));
      run(*list[i], t, 3, x.data, kThreads, whole.data);
      run(*list[i], t, 1, x.data + 2 * k, kThreads, alone.data);
      for (size_t j = 0; j < n; j++) CHECK(isfinite(whole[j]) && isnan(whole[n + j]));
      CHECK(memcmp(whole.data + 2 * n, alone.data, n * sizeof(float)) == 0);
    }
  }
}
