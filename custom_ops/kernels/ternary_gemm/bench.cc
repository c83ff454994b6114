#include "testing/sparse.h"

using namespace bitnet;

namespace {

constexpr size_t kM = 128;

struct Rows {
  Buffer<int8_t> q;
  Buffer<int32_t> q_sums, sums;
  explicit Rows(size_t k, size_t n) : q(kM * k), q_sums(kM), sums(kM * n) {
    Random random = {3};
    for (size_t i = 0; i < q.count; i++) {
      q.data[i] = static_cast<int8_t>(random.next());
      q_sums.data[i / k] += q.data[i];
    }
  }
};

template <typename Run>
void run_all(const Bench& bench, const char* name, size_t k, size_t n, Rows* rows, const Run& run) {
  check_result(bench, &rows->sums, run);
  const Times times = measure(bench, kRows * kRowBytes, false, run);
  print(bench, name, kM, k, n, times, kRows * kRowBytes, static_cast<double>(kM * k * n));
}

}  // namespace

BENCH(ternary_gemm) {
  Rows rows(kWide, kRows);
  run_all(bench, "ternary_gemm", kWide, kRows, &rows,
          [&](const Kernels& kernels, const uint8_t* w) {
            parallel(bench.pool, kRows / 128, [&](size_t task) {
              kernels.ternary_gemm(kM, 128, kRowBlocks, rows.q.data, rows.q_sums.data,
                                   w + task * 128 * kRowBytes, rows.sums.data + task * 128, kRows);
            });
          });
}

BENCH(ternary_columns_gemm) {
  Rows rows(kRows, kWide);
  run_all(bench, "columns_gemm", kRows, kWide, &rows,
          [&](const Kernels& kernels, const uint8_t* w) {
            parallel(bench.pool, kRowBlocks, [&](size_t block) {
              kernels.ternary_columns_gemm(kM, kRows, 1, rows.q.data, kRows, rows.q_sums.data,
                                           w + block * kBlockBytes, kRowBytes,
                                           rows.sums.data + block * kBlockK, kWide);
            });
          });
}
