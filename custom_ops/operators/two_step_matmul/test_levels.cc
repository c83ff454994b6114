// TwoStepLevelMatMul against all of Bf16MatMul: what is exact while the bounds hold, what is
// read.
#include "operators/bf16_matmul/bf16_matmul.h"
#include "operators/level_matmul/level_matmul.h"
#include "operators/two_step_matmul/two_step_level_matmul.h"
#include "testing/check.h"
#include "testing/levels.h"
#include "testing/pools.h"

using namespace bitnet;

namespace {

// A table and its copy, with bounds that always hold, in float64: Cauchy-Schwarz for 4 bits, and
// level_bounds of levels.py for 6.
struct Table {
  template <typename Row>
  Table(int bits, size_t n, size_t k, const Row& row)
      : n(n), k(k), zero(1 << (bits - 1)), w(2 * n * k), scan(bits, n, k), scale(n), bound(n) {
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
      // All levels are 100, and codes go from 1 on.
      scale[r] = most / static_cast<float>(100 * (zero - 1));
      round(r, values);
    }
  }
  void round(size_t r, Guarded<float>& values) {
    memset(scan.codes.data + r * scan.row_bytes(), 0, scan.row_bytes());
    memset(scan.levels.data + r * scan.blocks * 8, 100, scan.blocks * 8);
    double size = 0, error = 0, largest = 0, squares = 0;
    for (size_t i = 0; i < k; i++) {
      const int code = zero + static_cast<int>(nearbyintf(values[i] / (100 * scale[r])));
      put(r, i, code);
      const double miss = values[i] - 100.0 * (code - zero) * static_cast<double>(scale[r]);
      size += fabs(static_cast<double>(values[i]));
      squares += static_cast<double>(values[i]) * values[i];
      error += miss * miss;
      largest = fmax(largest, fabs(miss));
    }
    double most = sqrt(error);
    if (scan.bits == 6) {
      const double root = sqrt(static_cast<double>(k)), part = fmin(1, 3 / root);
      most = fmax(most, largest / part) + 0x1p-20 * root * (sqrt(squares) + sqrt(error));
    }
    bound[r] = static_cast<float>((most + size / 62000) * (1 + 0x1p-20) + 0x1p-126);
  }
  void put(size_t r, size_t i, int code) {
    uint8_t* block = scan.codes.data + r * scan.row_bytes() + i / 256 * 32 * size_t(scan.bits);
    const size_t lane = i % 64, half = i % 256 / 128, quarter = i % 256 / 64;
    const auto add = [&](size_t byte, int part) {
      block[byte] = static_cast<uint8_t>(block[byte] | part);
    };
    add(half * 64 + lane, (code & 15) << (quarter % 2 * 4));
    if (scan.bits == 6) add(128 + lane, (code >> 4) << (quarter * 2));
  }

  size_t n, k;
  int zero;
  Guarded<uint8_t> w;
  LevelRows scan;
  Guarded<float> scale, bound;
};

// Fills y and returns how many rows of w were read.
uint64_t run(const Kernels& kernels, const Table& t, size_t m, const float* x, const Pool& pool,
             float* y) {
  Guarded<uint8_t> scratch(two_step_level_matmul_scratch(m, t.k) / 64 * 64 + 64);
  Count skipped(0);
  two_step_level_matmul(kernels,
                        {.bits = t.scan.bits,
                         .m = m,
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
      CASE("%s, %d bits, %s, m %zu k %zu n %zu", what, t.scan.bits, list[i]->name, m, t.k, t.n);
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

void check_random(int bits) {
  const size_t shapes[][3] = {{0, 5, 5},      {2, 7, 0},     {1, 1, 1},     {3, 33, 127},
                              {2, 16, 128},   {2, 257, 129}, {1, 640, 900}, {5, 64, 200},
                              {2, 2560, 999}, {1, 9, 9001}};
  for (const auto& s : shapes) {
    Random random = {s[0] + s[1] + s[2]};
    const Table t(bits, s[2], s[1], [&](size_t, size_t) { return random.real(); });
    Guarded<float> x(s[0] * s[1]);
    random_x(&x, &random);
    const uint64_t rescored = check("random, seed m + k + n", t, s[0], x.data);
    CHECK(rescored >= s[0] * (s[2] < kFirst ? s[2] : kFirst));
  }
}

void check_bounds(int bits) {
  Random random = {7};
  const size_t n = 900, k = 300;
  Table t(bits, n, k, [&](size_t, size_t) { return random.real(); });
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
  const Table equal(bits, n, k, [&](size_t, size_t i) { return static_cast<float>(i % 9) - 3; });
  random_x(&x, &random);
  CHECK(check("equal rows", equal, 1, x.data) == n);
}

void check_not_finite(int bits) {
  Random random = {9};
  const size_t n = 200, k = 40;
  const Table t(bits, n, k, [&](size_t, size_t) { return random.real(); });
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

// A few large elements of x and many small ones: fewer rows are read than by the norm of x.
void check_split() {
  Random random = {11};
  const size_t n = 3000, k = 512;
  Table t(6, n, k, [&](size_t, size_t) { return random.real(); });
  Guarded<float> x(k);
  for (size_t i = 0; i < k; i++) x[i] = i % 128 == 5 ? 60 : random.real();
  const uint64_t split = check("large elements", t, 1, x.data);
  Guarded<int16_t> q(1024);
  const Kernels& kernels = *find_kernels(nullptr);
  const float plain = slack_of(kernels, x.data, k, q.data);
  const float least = split_slack_of(kernels, x.data, k, q.data);
  CHECK(least < 0.7f * plain);
  for (size_t r = 0; r < n; r++) t.bound[r] *= plain / least;
  CHECK(check("their norm", t, 1, x.data) > split);
}

}  // namespace

TEST(two_step_matmul, levels_random) {
  for (int bits : {4, 6}) check_random(bits);
}
TEST(two_step_matmul, levels_bounds) {
  for (int bits : {4, 6}) check_bounds(bits);
}
TEST(two_step_matmul, levels_not_finite) {
  for (int bits : {4, 6}) check_not_finite(bits);
}
TEST(two_step_matmul, split) { check_split(); }
