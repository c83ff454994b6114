// What the heads of two steps share, by itself: the largest of many values, in parts of which later
// ones begin with what earlier ones found, and which rows are read.
#include <algorithm>
#include <functional>

#include "operators/two_step_matmul/rescore.h"
#include "testing/check.h"
#include "testing/pools.h"

using namespace bitnet;

namespace {

using Value = float(size_t i, size_t n, Random* random);

// What a part finds must neither hide what others find nor count in its place.
const struct {
  const char* name;
  Value* value;
} kValues[] = {
    {"random", [](size_t, size_t, Random* random) { return random->real(); }},
    {"ascending", [](size_t i, size_t, Random*) { return static_cast<float>(i); }},
    {"descending", [](size_t i, size_t n, Random*) { return static_cast<float>(n - i); }},
    {"equal", [](size_t, size_t, Random*) { return 2.0f; }},
    {"ties", [](size_t, size_t n, Random* random) { return float(random->below(n / 30 + 2)); }},
    {"few", [](size_t i, size_t, Random*) { return i % 300 == 7 ? float(i % 5) : -INFINITY; }},
    {"at the end", [](size_t i, size_t n, Random*) { return i + 70 < n ? 0.0f : 1.0f; }},
    {"at the start", [](size_t i, size_t, Random*) { return i < 63 ? 1.0f : 0.0f; }},
    {"infinite", [](size_t i, size_t, Random*) { return i % 90 ? float(i) : INFINITY; }},
    {"none", [](size_t i, size_t, Random*) { return i % 3 ? NAN : -INFINITY; }},
    {"not all", [](size_t i, size_t, Random* random) { return i % 3 ? NAN : random->real(); }},
};

void check_largest(size_t size, size_t n) {
  Guarded<float> values(n), heaps(kParts * size);
  for (const auto& kind : kValues) {
    Random random = {n};
    std::vector<float> sorted;
    for (size_t i = 0; i < n; i++) {
      values[i] = kind.value(i, n, &random);
      if (!isnan(values[i])) sorted.push_back(values[i]);
    }
    std::sort(sorted.begin(), sorted.end(), std::greater<float>());
    const float expected = sorted.size() < size ? -INFINITY : sorted[size - 1];
    for (const Pool& pool : pools()) {
      CASE("the %zu largest of %zu, %s", size, n, kind.name);
      const float found = largest(size, n, heaps.data, pool, [&](size_t i) { return values[i]; });
      CHECK(found == expected);
    }
  }
}

void check_rows(size_t begin, size_t end, size_t k, size_t step) {
  CASE("rows %zu to %zu, each %zu-th", begin, end, step);
  const Kernels& kernels = *find_kernels(nullptr);
  Guarded<uint8_t> w(2 * end * k);
  Guarded<double> x(padded(k, kPadInt8));
  Guarded<float> ones(k);
  for (size_t i = 0; i < k; i++) ones[i] = 1;
  kernels.widen_bf16(ones.data, k, padded(k, kPadBf16), x.data);
  for (size_t row = 0; row < end; row++) {  // bfloat16 holds integers to 256
    const float value = static_cast<float>(row % 251);
    memcpy(w.data + 2 * row * k, reinterpret_cast<const char*>(&value) + 2, 2);
  }
  const Rescore op = {k, end, w.data, x.data, nullptr, nullptr};
  size_t next = begin;
  const auto asked = [&](size_t row) { return (row - begin) % step == 0; };
  const size_t read = read_rows(kernels, op, begin, end, asked, [&](size_t row, float exact) {
    CHECK(row == next && same_bits(exact, static_cast<float>(row % 251)));
    next += step;
  });
  CHECK(read == parts(end - begin, step) && next == begin + read * step);
}

}  // namespace

TEST(two_step_matmul, largest) {
  for (size_t size : {kKeep, 2 * kKeep}) {
    for (size_t n : {1, 63, 64, 65, 4096, 4097, 8200, 12289, 16384, 20011}) check_largest(size, n);
  }
}

TEST(two_step_matmul, rows_that_are_read) {
  for (size_t count : {size_t{0}, size_t{1}, kListed - 1, kListed, kListed + 1, 3 * kListed + 5}) {
    for (size_t step : {size_t{1}, size_t{2}, kListed, 5 * kListed}) {
      for (size_t k : {1, 16, 33}) check_rows(7, 7 + count, k, step);
    }
  }
}
