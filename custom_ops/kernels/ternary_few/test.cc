// Every row of the list that this CPU can run, against the formulas, with ==.
#include "testing/ternary.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  TernaryFew* few;
  TernaryColumnsFew* columns;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, ternary_few_##isa, ternary_columns_few_##isa},
#include "kernels/ternary_few/kernels.inc"
};

// All rows, or the `count` rows of an index.
void check_few(const Row& row, Ternary* t, const Guarded<int32_t>* index) {
  const size_t count = index ? index->size() : t->n, stride = count + 3;
  Guarded<int32_t> sums(t->m * stride - 3);
  for (size_t i = 0; i < sums.size(); i++) sums[i] = kUntouched;
  row.few(t->m, count, t->blocks, t->q.data, t->q_sums.data, t->w.data,
          index ? index->data : nullptr, sums.data, stride);
  for (size_t j = 0; j < count; j++) {
    const std::vector<int32_t> expected =
        t->products(index ? static_cast<size_t>(index->data[j]) : j);
    for (size_t i = 0; i < t->m; i++) CHECK(sums[i * stride + j] == expected[i]);
  }
  for (size_t i = 0; i + 1 < t->m; i++) {
    for (size_t j = count; j < stride; j++) CHECK(sums[i * stride + j] == kUntouched);
  }
}

// Some of t's n rows as columns of 256 * blocks outputs; q is of them alone, and `zeros` percent of
// it are 0.
void check_columns(const Row& row, Ternary* t, size_t m, const Guarded<int32_t>& index, bool all,
                   size_t zeros, Random* random) {
  const size_t count = index.size(), step = all ? 256 : 4, width = t->blocks * 256;
  const size_t q_stride = (count + step - 1) / step * step;
  Guarded<int8_t> q(m * q_stride);
  Guarded<int32_t> q_sums(m), sums(m * (width + 3) - 3);
  for (size_t i = 0; i < m; i++) {
    q_sums[i] = 0;
    for (size_t c = 0; c < q_stride; c++) {
      const bool zero = c >= count || random->below(100) < zeros;
      q[i * q_stride + c] = zero ? int8_t{0} : static_cast<int8_t>(random->next());
      q_sums[i] += q[i * q_stride + c];
    }
  }
  row.columns(m, count, t->blocks, q.data, q_stride, q_sums.data, t->w.data,
              all ? nullptr : index.data, sums.data, width + 3);
  std::vector<int32_t> expected(m * width);
  for (size_t c = 0; c < count; c++) {
    const uint8_t* column = t->w.data + static_cast<size_t>(index.data[c]) * t->blocks * 64;
    const std::vector<int8_t> weights = weights_of(column, width);
    for (size_t i = 0; i < m; i++) {
      add_product(q[i * q_stride + c], weights, expected.data() + i * width);
    }
  }
  for (size_t i = 0; i < m; i++) {
    for (size_t n = 0; n < width; n++) CHECK(sums[i * (width + 3) + n] == expected[i * width + n]);
  }
}

// About `share` percent of 0 to n - 1, ascending.
struct Picked {
  int32_t taken[1024];
  size_t count = 0;
  Picked(size_t n, size_t share, Random* random) {
    for (size_t i = 0; i < n; i++) {
      if (random->below(100) < share) taken[count++] = static_cast<int32_t>(i);
    }
  }
  void copy_to(Guarded<int32_t>* index) const {
    for (size_t i = 0; i < count; i++) (*index)[i] = taken[i];
  }
};

}  // namespace

TEST(ternary_few, shapes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t k : {1, 255, 256, 257, 1024, 2560}) {
      for (size_t m = 1; m <= kFewActivations; m++) {
        const size_t n = 1 + (m * 7 + k) % 41, seed = k * 1000 + m;
        CASE("ternary_few_%s m %zu n %zu k %zu seed %zu", row.isa, m, n, k, seed);
        Random random = {seed};
        Ternary t(m, n, k);
        t.fill(&random);
        check_few(row, &t, nullptr);
        const Picked picked(n, 60, &random);
        Guarded<int32_t> index(picked.count);
        picked.copy_to(&index);
        if (picked.count) check_few(row, &t, &index);
      }
    }
  }
}

TEST(ternary_few, columns) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t m = 1; m <= kFewActivations; m++) {
      for (size_t n : {1, 3, 4, 5, 63, 64, 65, 130, 300}) {
        for (size_t share : {50, 100}) {
          const size_t k = 1 + (n * m) % 900, seed = m * 1000 + n;
          CASE("ternary_columns_few_%s m %zu, %zu %% of %zu columns, k %zu, seed %zu", row.isa, m,
               share, n, k, seed);
          Random random = {seed};
          Ternary t(1, n, k);
          t.fill(&random);
          const Picked picked(n, share, &random);
          Guarded<int32_t> index(picked.count);
          picked.copy_to(&index);
          for (size_t zeros : {0, 60, 95, 100}) {
            check_columns(row, &t, m, index, false, zeros, &random);
            if (share == 100) check_columns(row, &t, m, index, true, zeros, &random);
          }
        }
      }
    }
  }
}

// All codes and all activations the same.
TEST(ternary_few, extremes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t m : {1, 2, 3, 4, 5, 6, 7, 8, 16}) {
      Ternary t(m, 3, kTestedK);
      for (int weight_code = 0; weight_code < 4; weight_code++) {
        for (int activation : {-128, 127}) {
          CASE("ternary_few_%s m %zu, all codes %d, all activations %d", row.isa, m, weight_code,
               activation);
          t.fill(weight_code, activation);
          check_few(row, &t, nullptr);
        }
      }
    }
  }
}

// The largest sums of columns, half of which meet a zero.
TEST(ternary_few, column_extremes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    const size_t count = kTestedK;
    Guarded<uint8_t> w(count * 64);
    Guarded<int8_t> q(count);
    Guarded<int32_t> sums(256);
    for (int weight_code : {0, 3}) {
      for (int activation : {-128, 127}) {
        CASE("ternary_columns_few_%s, all codes %d, activations %d", row.isa, weight_code,
             activation);
        memset(w.data, weight_code * 0x55, w.size());
        for (size_t c = 0; c < count; c++) q[c] = static_cast<int8_t>(c % 2 ? activation : 0);
        const int32_t q_sum = static_cast<int32_t>(count / 2) * activation;
        row.columns(1, count, 1, q.data, count, &q_sum, w.data, nullptr, sums.data, 256);
        for (size_t n = 0; n < 256; n++) CHECK(sums[n] == q_sum * (weight_code - 1));
      }
    }
  }
}
