// Every row of the list that this CPU can run, against the formulas, with ==.
#include <string>

#include "testing/ternary.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  TernaryGemm* gemm;
  TernaryColumnsGemm* columns;
} const kRows[] = {
#define KERNEL(isa, needs, rows) {#isa, needs, ternary_gemm_##isa, ternary_columns_gemm_##isa},
#include "kernels/ternary_gemm/kernels.inc"
};

// Those that are tested here.
std::vector<const Row*> rows() {
  std::vector<const Row*> found;
  for (const Row& row : kRows) {
    if (tested(kRows, row)) found.push_back(&row);
  }
  return found;
}

void check_gemm(const std::vector<const Row*>& rows, Ternary* t, const char* what) {
  const size_t stride = t->n + 3;
  std::vector<int32_t> expected(t->m * stride - 3, kUntouched);
  for (size_t j = 0; j < t->n; j++) {
    const std::vector<int32_t> products = t->products(j);
    for (size_t i = 0; i < t->m; i++) expected[i * stride + j] = products[i];
  }
  for (const Row* row : rows) {
    CASE("ternary_gemm_%s m %zu n %zu k %zu %s", row->isa, t->m, t->n, t->k, what);
    Guarded<int32_t> sums(expected.size());
    for (size_t i = 0; i < sums.size(); i++) sums[i] = kUntouched;
    row->gemm(t->m, t->n, t->blocks, t->q.data, t->q_sums.data, t->w.data, sums.data, stride);
    CHECK(memcmp(sums.data, expected.data(), 4 * sums.size()) == 0);
  }
}

// `blocks` blocks of `count` columns and m activation rows with zeros from `count` on.
struct Columns {
  size_t m, count, blocks, q_stride, row_bytes;
  Guarded<uint8_t> w;
  Guarded<int8_t> q;
  Guarded<int32_t> q_sums;

  Columns(size_t m, size_t count, size_t blocks, size_t row_bytes)
      : m(m),
        count(count),
        blocks(blocks),
        q_stride(blocks_for(count) * 256),
        row_bytes(row_bytes),
        w(count ? (count - 1) * row_bytes + 64 * blocks : 0),
        q(m * q_stride),
        q_sums(m) {}

  void sum() {
    for (size_t i = 0; i < m; i++) {
      q_sums[i] = 0;
      for (size_t k = 0; k < count; k++) q_sums[i] += q[i * q_stride + k];
    }
  }
  void fill(Random* random) {
    fill_bytes(&w, random);
    for (size_t i = 0; i < m; i++) {
      for (size_t k = 0; k < count; k++) q[i * q_stride + k] = static_cast<int8_t>(random->next());
    }
    sum();
  }
  void check(const std::vector<const Row*>& rows, const char* what) {
    const size_t outputs = 256 * blocks, stride = outputs + 3;
    std::vector<int32_t> expected(m * stride - 3, kUntouched);
    for (size_t i = 0; i < m; i++) memset(expected.data() + i * stride, 0, 4 * outputs);
    for (size_t k = 0; k < count; k++) {
      const std::vector<int8_t> weights = weights_of(w.data + k * row_bytes, outputs);
      for (size_t i = 0; i < m; i++) {
        add_product(q[i * q_stride + k], weights, expected.data() + i * stride);
      }
    }
    for (const Row* row : rows) {
      CASE("ternary_columns_gemm_%s: m %zu, %zu columns %zu bytes apart, %zu blocks, %s", row->isa,
           m, count, row_bytes, blocks, what);
      Guarded<int32_t> sums(expected.size());
      for (size_t i = 0; i < sums.size(); i++) sums[i] = kUntouched;
      row->columns(m, count, blocks, q.data, q_stride, q_sums.data, w.data, row_bytes, sums.data,
                   stride);
      CHECK(memcmp(sums.data, expected.data(), 4 * sums.size()) == 0);
    }
  }
};

}  // namespace

TEST(ternary_gemm, shapes) {
  const std::vector<const Row*> all = rows();
  for (size_t k : kDepths) {
    for (size_t m = 1; m <= 17; m += kTraps ? 3 : 1) {
      const size_t few = 1 + (m * 7 + k) % 17, wide = 20 + m * 3;  // around 32, 48, 64
      for (size_t n : {few, k < 1000 ? wide : 3}) {
        const size_t seed = k * 1000 + m;
        Random random = {seed};
        Ternary t(m, n, k);
        t.fill(&random);
        check_gemm(all, &t, "of any code");
      }
    }
  }
}

TEST(ternary_gemm, columns) {
  const std::vector<const Row*> all = rows();
  for (size_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 128, 130}) {
    for (size_t count : {0, 1, 2, 3, 4, 5, 127, 128, 129, 255, 256, 257, 511, 513, 1030, 2563}) {
      if (m > 9 && count > (kTraps ? 5 : 300)) continue;
      if (kTraps && m > 5 && m != 9 && count > 300) continue;
      const size_t seed = m * 10000 + count, row_bytes = count % 2 ? 64 : 64 * (1 + m % 11);
      Random random = {seed};
      Columns columns(m, count, 1, row_bytes);
      columns.fill(&random);
      columns.check(all, "of any code");
    }
  }
}

// All codes and all activations the same.
TEST(ternary_gemm, extremes) {
  const std::vector<const Row*> all = rows();
  for (size_t k : {size_t{6912}, kTestedK}) {
    if (k > kTestedK) continue;
    Ternary t(5, 3, k);
    Columns columns(3, k, 1, 64);
    for (int weight_code = 0; weight_code < 4; weight_code++) {
      memset(columns.w.data, weight_code * 0x55, columns.w.size());
      for (int activation : {-128, -127, 0, 127}) {
        t.fill(weight_code, activation);
        const std::string what = "of code " + std::to_string(weight_code) + ", all activations " +
                                 std::to_string(activation);
        check_gemm(all, &t, what.c_str());
        memset(columns.q.data, activation, columns.q.size());
        columns.sum();
        columns.check(all, what.c_str());
      }
    }
  }
}

// Codes of valid files, which kernels with tables look up: alone, and with one code 3 at the end.
TEST(ternary_gemm, valid) {
  if (kTraps) return;  // the kernel there has no tables
  const std::vector<const Row*> all = rows();
  for (size_t m : {1, 15, 16, 17, 18, 19, 40}) {
    for (size_t k : {1, 256, 257, 511, 700}) {
      for (size_t n : {63, 64, 130}) {
        const size_t seed = m * 100000 + k * 100 + n;
        Random random = {seed};
        Ternary t(m, n, k);
        t.fill(&random);
        make_valid(&t.w);
        check_gemm(all, &t, "valid");
        t.w[t.w.size() - 1] |= 0xc0;
        check_gemm(all, &t, "with one code 3");
      }
    }
  }
}

TEST(ternary_gemm, valid_columns) {
  if (kTraps) return;  // the kernel there has no tables
  const std::vector<const Row*> all = rows();
  for (size_t m : {1, 15, 16, 17, 18, 19}) {
    for (size_t count : {0, 1, 63, 256, 257, 513, 770}) {
      const size_t blocks = 1 + (m + count) % 6, seed = m * 10000 + count;
      Random random = {seed};
      Columns columns(m, count, blocks, 64 * (blocks + m % 3));
      columns.fill(&random);
      make_valid(&columns.w);
      columns.check(all, "valid");
      if (count) columns.w[columns.w.size() - 1] |= 0xc0;
      columns.check(all, "with one code 3");
    }
  }
}

// More weight rows than a kernel's tables serve at a time.
TEST(ternary_gemm, wide) {
  if (kTraps) return;
  const std::vector<const Row*> all = rows();
  for (size_t m : {7, 9, 10, 11, 13, 18}) {
    const size_t n = m % 2 ? kRowsZen4 - 1 : kRowsZen4 + 70;
    Random random = {n};
    Ternary t(m, n, 300);
    t.fill(&random);
    make_valid(&t.w);
    check_gemm(all, &t, "valid");
    t.w[kRowsZen4 / 2 * 64 + 5] |= 3;  // the first rows by multiplying, the rest as before
    check_gemm(all, &t, "with one code 3");
  }
}

// The largest sums of tables: every weight has the sign of its activation, or the other one.
TEST(ternary_gemm, largest) {
  if (kTraps) return;
  const std::vector<const Row*> all = rows();
  const size_t m = 17, k = 1300;
  for (size_t n : {64, 65}) {
    Ternary t(m, n, k);
    Columns columns(m, k, 2, 128);
    for (int other : {0, 1}) {
      for (int low : {-128, -127}) {
        Random random = {n};
        for (size_t j = 0; j < k; j++) {
          const bool negative = random.next() & 1;
          const int weight_code = negative == (other == 1) ? 2 : 0;
          for (size_t i = 0; i < m; i++) {
            const int value = negative ? low : 127;
            t.row(i)[j] = static_cast<int8_t>(value);
            columns.q[i * columns.q_stride + j] = static_cast<int8_t>(value);
          }
          for (size_t r = 0; r < n; r++) {
            uint8_t* byte = &t.w[r * t.blocks * 64 + j / 256 * 64 + j % 64];
            const int shift = static_cast<int>(2 * (j / 64 % 4));
            *byte = static_cast<uint8_t>((*byte & ~(3 << shift)) | weight_code << shift);
          }
          memset(columns.w.data + j * 128, weight_code * 0x55, 128);
        }
        t.sum();
        columns.sum();
        const char* what = other ? "of the other sign" : "of the sign of their activations";
        check_gemm(all, &t, what);
        columns.check(all, what);
      }
    }
  }
}
