// TwoStepMatMul against all of Bf16MatMul: what must be exact, and what may be read.
#include <float.h>

#include "kernels/kernels.h"
#include "operators/bf16_matmul/bf16_matmul.h"
#include "operators/int8_matmul/int8_matmul.h"
#include "operators/two_step_matmul/two_step_matmul.h"
#include "testing/check.h"
#include "testing/pools.h"

using namespace bitnet;

namespace {

// A table and its int8 copy. The bound is row_bounds of ternary.py, in float64 and rounded up.
struct Table {
  Table(size_t n, size_t k) : n(n), k(k), w(2 * n * k), scan(n * k), scale(n), bound(n) {}
  size_t n, k;
  Guarded<uint8_t> w, scan;
  Guarded<float> scale, bound;

  float at(size_t row, size_t i) const {
    float value = 0;
    memcpy(reinterpret_cast<char*>(&value) + 2, w.data + 2 * (row * k + i), 2);
    return value;
  }
  void set(size_t row, size_t i, float value) {
    memcpy(w.data + 2 * (row * k + i), reinterpret_cast<const char*>(&value) + 2, 2);
  }
  void finish() {
    for (size_t row = 0; row < n; row++) {
      float most = 1e-5f;
      for (size_t i = 0; i < k; i++) most = fmaxf(most, fabsf(at(row, i)));
      scale[row] = most / 127;
      double size = 0, error = 0;
      for (size_t i = 0; i < k; i++) {
        const float code = nearbyintf(at(row, i) / scale[row]);
        scan[row * k + i] = static_cast<uint8_t>(static_cast<int8_t>(code));
        const double miss = at(row, i) - static_cast<double>(code) * scale[row];
        size += fabs(static_cast<double>(at(row, i)));
        error += miss * miss;
      }
      bound[row] = static_cast<float>((sqrt(error) + size / 62000) * (1 + 0x1p-20) + 0x1p-126);
    }
  }
};

struct Result {
  Result(size_t count) : y(count) {}
  Guarded<float> y;
  uint64_t rescored = 0;  // rows of w that were read
};

void run(const Kernels& kernels, const Table& t, size_t m, const float* x, const Pool& pool,
         Result* result) {
  Guarded<uint8_t> scratch(two_step_matmul_scratch(m, t.k) / 64 * 64 + 64);
  Count skipped(0);
  two_step_matmul(kernels,
                  {.m = m,
                   .k = t.k,
                   .n = t.n,
                   .x = x,
                   .w = t.w.data,
                   .scan = t.scan.data,
                   .scale = t.scale.data,
                   .bound = t.bound.data,
                   .y = result->y.data,
                   .skipped = &skipped},
                  scratch.data, pool);
  result->rescored = m * t.n - skipped / (2 * t.k);
}

int descending(const void* a, const void* b) {
  const float x = *static_cast<const float*>(a), y = *static_cast<const float*>(b);
  return x < y ? 1 : x > y ? -1 : 0;
}

// All results that reach the kKeep-th largest exact one are exact, the others are below it, and
// every kernel and pool gives the same bits. Returns how many rows were rescored for all of x.
uint64_t check(const char* what, const Table& t, size_t m, const float* x) {
  const Kernels** list;
  const size_t kernels = tested_kernels(&list);
  Guarded<float> exact(m * t.n), sorted(t.n);
  Guarded<uint8_t> scratch(bf16_matmul_scratch(m, t.k) / 64 * 64 + 64);
  bf16_matmul(*list[0], {m, t.k, t.n, x, t.w.data, exact.data}, scratch.data, kBackwards);
  Result first(m * t.n);
  run(*list[0], t, m, x, kBackwards, &first);
  for (size_t i = 0; i < kernels; i++) {
    for (const Pool& pool : pools()) {
      CASE("%s, %s, m %zu k %zu n %zu", what, list[i]->name, m, t.k, t.n);
      Result other(m * t.n);
      run(*list[i], t, m, x, pool, &other);
      CHECK(memcmp(other.y.data, first.y.data, m * t.n * sizeof(float)) == 0);
      CHECK(other.rescored == first.rescored);
    }
  }
  for (size_t i = 0; i < m; i++) {
    const float *y = first.y.data + i * t.n, *e = exact.data + i * t.n;
    memcpy(sorted.data, e, t.n * sizeof(float));
    qsort(sorted.data, t.n, sizeof(float), descending);
    const float least = t.n < kKeep ? -INFINITY : sorted[kKeep - 1];
    for (size_t n = 0; n < t.n; n++) CHECK(e[n] >= least ? y[n] == e[n] : y[n] < least);
  }
  return first.rescored;
}

void random_x(Guarded<float>* x, Random* random) {
  for (size_t i = 0; i < x->size(); i++) (*x)[i] = random->real() * 3;
}

// What row n holds at i.
template <typename Row>
Table* made(size_t n, size_t k, const Row& row) {
  Table* t = new Table(n, k);
  for (size_t r = 0; r < n; r++) {
    for (size_t i = 0; i < k; i++) t->set(r, i, row(r, i));
  }
  t->finish();
  return t;
}

}  // namespace

TEST(two_step_matmul, random) {
  const size_t shapes[][3] = {{0, 5, 5},      {2, 7, 0},    {1, 1, 1},     {3, 33, 63},
                              {2, 16, 64},    {2, 257, 65}, {1, 640, 900}, {5, 64, 80},
                              {2, 2560, 999}, {1, 9, 9001}};
  for (const auto& s : shapes) {
    Random random = {s[0] + s[1] + s[2]};
    Table* t = made(s[2], s[1], [&](size_t, size_t) { return random.real(); });
    Guarded<float> x(s[0] * s[1]);
    random_x(&x, &random);
    const uint64_t rescored = check("random, seed m + k + n", *t, s[0], x.data);
    CHECK(rescored >= s[0] * (s[2] < kKeep ? s[2] : kKeep));
    if (s[2] >= 900) CHECK(rescored < s[0] * s[2] / 2);
    delete t;
  }
}

TEST(two_step_matmul, adversarial) {
  Random random = {5};
  const size_t n = 700, k = 96;
  Guarded<float> x(k);
  random_x(&x, &random);
  // All rows equal, rows in pairs, and in fives around the limit: none of the ties may be lost.
  for (size_t times : {n, size_t{2}, size_t{5}}) {
    Table* t = made(n, k, [&](size_t r, size_t i) {
      Random own = {r / times * k + i};
      return own.real();
    });
    const uint64_t rescored = check("equal rows", *t, 1, x.data);
    CHECK(times != n || rescored == n);
    delete t;
  }
  Table* zeros = made(n, k, [](size_t, size_t) { return 0.0f; });
  CHECK(check("zeros", *zeros, 1, x.data) == n);
  delete zeros;
  Table* t = made(n, k, [&](size_t, size_t) { return random.real(); });
  for (size_t r = 0; r < n; r += 3) t->bound[r] = r % 2 ? INFINITY : FLT_MAX;
  CHECK(check("huge bounds", *t, 1, x.data) >= n / 3);
  for (size_t r = 0; r < n; r++) t->bound[r] = INFINITY;
  CHECK(check("no bounds", *t, 1, x.data) == n);
  t->finish();
  // One result far above all others: 64 are kept all the same, and few more are read.
  for (size_t i = 0; i < k; i++) t->set(n / 2, i, x[i]);
  t->finish();
  CHECK(check("peaked", *t, 1, x.data) < n / 2);
  // The largest results where the int8 copy errs most: by half a step, in the direction of x.
  for (size_t r = 0; r < n; r++) {
    for (size_t i = 0; i < k; i++) {
      const float code = static_cast<float>(i == 0 ? 127 : (i * 7 + r) % 60) + (i ? 0.4375f : 0);
      t->set(r, i, x[i] < 0 ? -code : code);
    }
  }
  t->finish();
  check("half steps", *t, 1, x.data);
  for (float size : {1e-30f, 1e-7f, 1e15f, 1e25f, 1e37f}) {
    for (size_t i = 0; i < k; i++) x[i] = random.real() * size;
    check("sizes", *t, 1, x.data);
  }
  for (size_t i = 0; i < k; i++) x[i] = 0;
  CHECK(check("no x", *t, 1, x.data) == n);
  delete t;
}

TEST(two_step_matmul, not_finite) {
  Random random = {9};
  const size_t n = 200, k = 40;
  Table* t = made(n, k, [&](size_t, size_t) { return random.real(); });
  const Kernels** list;
  const size_t kernels = tested_kernels(&list);
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    Guarded<float> x(3 * k);
    random_x(&x, &random);
    x[k + 7] = bad;
    for (size_t i = 0; i < kernels; i++) {
      CASE("%s, %f in x", list[i]->name, static_cast<double>(bad));
      Result whole(3 * n), alone(n);
      run(*list[i], *t, 3, x.data, kThreads, &whole);
      run(*list[i], *t, 1, x.data + 2 * k, kThreads, &alone);
      for (size_t j = 0; j < n; j++) CHECK(isfinite(whole.y[j]) && isnan(whole.y[n + j]));
      CHECK(memcmp(whole.y.data + 2 * n, alone.y.data, n * sizeof(float)) == 0);
    }
  }
  delete t;
}
