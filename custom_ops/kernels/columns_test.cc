// The kernels of exact activation sparsity (some rows, some columns, all columns) of every
// instruction set that this CPU offers, against the formulas of kernel.h, with ==.
#include "kernels/dispatch.h"
#include "kernels/kernel.h"
#include "testing/check.h"

using namespace bitnet;

int failures = 0;
char current_case[256] = "start";

static const int32_t kUntouched = 0x5a5a5a5a;
static const size_t kCounts[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,
                                 31, 32, 33, 34, 35, 36, 37, 63, 85, 300};

static int code(const uint8_t* row, size_t k) {
  return row[k / 256 * 64 + k % 64] >> (2 * (k / 64 % 4)) & 3;
}

// A matrix with any code, `count` of its rows (the last one among them: it ends at a forbidden
// page) and any activations.
struct Some {
  size_t total, count, blocks;
  Guarded<uint8_t> w;
  Guarded<int32_t> index;

  Some(size_t total, size_t count, size_t blocks, Random* random)
      : total(total), count(count), blocks(blocks), w(total * blocks * 64), index(count) {
    for (size_t i = 0; i < w.size(); i++) w[i] = static_cast<uint8_t>(random->next());
    size_t left = total, wanted = count;  // every subset is as likely
    for (size_t i = 0; wanted; i++, left--) {
      if (random->below(left) < wanted) index[count - wanted--] = static_cast<int32_t>(i);
    }
    if (count) index[count - 1] = static_cast<int32_t>(total - 1);
  }
  const uint8_t* row(size_t i) const {
    return w.data + static_cast<size_t>(index.data[i]) * blocks * 64;
  }
};

static void check_select(const Kernel& kernel, const Some& some, const int8_t* q, int32_t q_sum) {
  Guarded<int32_t> expected(some.count);
  for (size_t i = 0; i < some.count; i++) {
    expected[i] = 0;
    for (size_t k = 0; k < some.blocks * 256; k++) expected[i] += q[k] * (code(some.row(i), k) - 1);
  }
  for (size_t count : {some.count, some.count / 2, some.count / 5}) {  // the others are known
    Guarded<int32_t> sums(count);
    kernel.ternary_select(count, some.count, some.blocks, q, q_sum, some.w.data, some.index.data,
                          sums.data);
    for (size_t i = 0; i < count; i++) CHECK(sums[i] == expected[i]);
  }
}

static void test_select(const Kernel& kernel) {
  for (size_t blocks : {1, 2, 3, 5, 6, 10, 11, 27}) {
    for (size_t count : kCounts) {
      for (size_t total : {count, count + 1, 3 * count + 7}) {
        const size_t seed = (blocks * 1000 + count) * 1000 + total;
        CASE("select %s: %zu of %zu rows, %zu blocks, seed %zu", kernel.name, count, total, blocks,
             seed);
        Random random = {seed};
        Some some(total, count, blocks, &random);
        Guarded<int8_t> q(blocks * 256);
        for (size_t i = 0; i < q.size(); i++) q[i] = static_cast<int8_t>(random.next());
        if (count % 3 == 0) memset(q.data, -128, q.size());
        int32_t q_sum = 0;
        for (size_t i = 0; i < q.size(); i++) q_sum += q[i];
        check_select(kernel, some, q.data, q_sum);
      }
    }
  }
}

static void check_columns(const Kernel& kernel, const Some& some, const int8_t* q) {
  Guarded<int32_t> sums(some.blocks * 256);
  for (size_t n = 0; n < sums.size(); n++) sums[n] = kUntouched;
  kernel.ternary_columns(some.count, some.blocks, some.index.data, q, some.w.data, sums.data);
  for (size_t n = 0; n < sums.size(); n++) {
    int32_t expected = 0;
    for (size_t i = 0; i < some.count; i++) expected += q[i] * (code(some.row(i), n) - 1);
    CHECK(sums[n] == expected);
  }
}

static void test_columns(const Kernel& kernel) {
  for (size_t blocks = 1; blocks <= 11; blocks++) {
    for (size_t count : kCounts) {
      for (size_t total : {count, count + 1, 3 * count + 7}) {
        const size_t seed = (blocks * 1000 + count) * 1000 + total;
        CASE("columns %s: %zu of %zu columns, %zu blocks, seed %zu", kernel.name, count, total,
             blocks, seed);
        Random random = {seed};
        Some some(total, count, blocks, &random);
        Guarded<int8_t> q(count);
        for (size_t i = 0; i < count; i++) q[i] = static_cast<int8_t>(random.next());
        check_columns(kernel, some, q.data);
      }
    }
  }
  CASE("columns %s: 5000 of 6912 columns, 33 blocks", kernel.name);
  Random random = {1};
  Some some(6912, 5000, 33, &random);
  Guarded<int8_t> q(5000);
  for (size_t i = 0; i < q.size(); i++) q[i] = static_cast<int8_t>(random.next());
  check_columns(kernel, some, q.data);
}

// One block of `count` columns and m activation rows with zeros from `count` on.
struct All {
  size_t m, count, stride_q, row_bytes;
  Guarded<uint8_t> w;
  Guarded<int8_t> q;
  Guarded<int32_t> q_sums;

  All(size_t m, size_t count, size_t row_bytes)
      : m(m),
        count(count),
        stride_q((count + 255) / 256 * 256),
        row_bytes(row_bytes),
        w(count ? (count - 1) * row_bytes + 64 : 0),
        q(m * stride_q),
        q_sums(m) {}

  void sum() {
    for (size_t i = 0; i < m; i++) {
      q_sums[i] = 0;
      for (size_t k = 0; k < count; k++) q_sums[i] += q[i * stride_q + k];
    }
  }
  void fill(Random* random) {
    for (size_t i = 0; i < w.size(); i++) w[i] = static_cast<uint8_t>(random->next());
    for (size_t i = 0; i < m; i++) {
      for (size_t k = 0; k < count; k++) q[i * stride_q + k] = static_cast<int8_t>(random->next());
    }
    sum();
  }
  void check(const Kernel& kernel) {
    const size_t stride = 256 + 3;
    Guarded<int32_t> sums(m * stride - 3);
    for (size_t i = 0; i < sums.size(); i++) sums[i] = kUntouched;
    kernel.ternary_columns_gemm(m, count, q.data, stride_q, q_sums.data, w.data, row_bytes,
                                sums.data, stride);
    for (size_t i = 0; i < m; i++) {
      int32_t expected[256] = {0};
      for (size_t k = 0; k < count; k++) {
        for (size_t n = 0; n < 256; n++) {
          expected[n] += q[i * stride_q + k] * (code(w.data + k * row_bytes, n) - 1);
        }
      }
      CHECK(memcmp(sums.data + i * stride, expected, sizeof expected) == 0);
      for (size_t n = 256; n < stride && i + 1 < m; n++) CHECK(sums[i * stride + n] == kUntouched);
    }
  }
};

static void test_columns_gemm(const Kernel& kernel) {
  for (size_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 128, 130}) {
    for (size_t count : {0, 1, 2, 3, 4, 5, 127, 128, 129, 255, 256, 257, 511, 513, 1030, 2563}) {
      if (m > 9 && count > 300) continue;
      const size_t seed = m * 10000 + count, row_bytes = count % 2 ? 64 : 64 * (1 + m % 11);
      CASE("columns gemm %s: m %zu, %zu columns %zu bytes apart, seed %zu", kernel.name, m, count,
           row_bytes, seed);
      Random random = {seed};
      All all(m, count, row_bytes);
      all.fill(&random);
      all.check(kernel);
    }
  }
}

// All codes and all activations the same, so that every sum is known.
static void test_extremes(const Kernel& kernel) {
  for (size_t count : {size_t{6912}, kTestedK}) {
    Random random = {count};
    Some some(count, count, 1, &random);
    All all(3, count, 64);
    Guarded<int8_t> q(count);
    Guarded<int32_t> sums(256), tall(3 * 256);
    for (int weight_code = 0; weight_code < 4; weight_code++) {
      memset(some.w.data, weight_code * 0x55, some.w.size());
      memset(all.w.data, weight_code * 0x55, all.w.size());
      for (int activation : {-128, -127, 0, 127}) {
        CASE("%s, %zu columns, all codes %d, all activations %d", kernel.name, count, weight_code,
             activation);
        memset(q.data, activation, count);
        memset(all.q.data, activation, all.q.size());
        all.sum();
        kernel.ternary_columns(count, 1, some.index.data, q.data, some.w.data, sums.data);
        kernel.ternary_columns_gemm(3, count, all.q.data, all.stride_q, all.q_sums.data, all.w.data,
                                    64, tall.data, 256);
        const int32_t expected = static_cast<int32_t>(count) * activation * (weight_code - 1);
        for (size_t n = 0; n < 256; n++) CHECK(sums[n] == expected);
        for (size_t n = 0; n < tall.size(); n++) CHECK(tall[n] == expected);
      }
    }
  }
}

int main() {
  const Kernel** list;
  const size_t count = tested_kernels(&list);
  printf("kernels: %s\n", offered_names());
  for (size_t i = 0; i < count; i++) {
    test_select(*list[i]);
    test_columns(*list[i]);
    test_columns_gemm(*list[i]);
    test_extremes(*list[i]);
  }
  printf("%d failures\n", failures);
  return failures != 0;
}
