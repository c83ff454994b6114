#include "testing/sparse.h"

using namespace bitnet;

namespace {

// The matrix is read from memory: all of it, or half of its rows.
template <typename Run>
void bench_few(const Bench& bench, const char* name, size_t count, size_t width, size_t sums_width,
               const Run& run) {
  for (size_t m : {1, 2, 3, 4, 5, 6, 8, 12, 16}) {
    const Sparse sparse(count);
    Buffer<int8_t> q(m * width);
    Buffer<int32_t> q_sums(m), sums(m * sums_width);
    Random random = {5};
    for (size_t i = 0; i < q.count; i++) {
      q.data[i] = static_cast<int8_t>(random.next());
      q_sums.data[i / width] += q.data[i];
    }
    const int32_t* index = count < kRows ? sparse.index.data : nullptr;
    const auto whole = [&](const Kernels& kernels, const uint8_t* w) {
      run(kernels, m, q.data, q_sums.data, w, index, sums.data);
    };
    check_result(bench, &sums, whole);
    const Times times = measure(bench, kRows * kRowBytes, true, whole);
    print(bench, name, m, kWide, count, times, count * kRowBytes,
          static_cast<double>(m * count * kWide));
  }
}

}  // namespace

BENCH(ternary_few) {
  for (size_t count : {kRows, kRows / 2}) {
    bench_few(bench, "ternary_few", count, kWide, count,
              [&](const Kernels& kernels, size_t m, const int8_t* q, const int32_t* q_sums,
                  const uint8_t* w, const int32_t* index, int32_t* sums) {
                const size_t part = rows_per_task(count, kRowBytes, 4, 2048 / m);
                parallel(bench.pool, (count + part - 1) / part, [&](size_t task) {
                  const size_t n = task * part, here = count - n < part ? count - n : part;
                  kernels.ternary_few(m, here, kRowBlocks, q, q_sums, index ? w : w + n * kRowBytes,
                                      index ? index + n : nullptr, sums + n, count);
                });
              });
  }
}

// One task: the sums of several would have to be added.
BENCH(ternary_columns_few) {
  for (size_t count : {kRows, kRows / 2}) {
    bench_few(bench, "columns_few", count, count, kWide,
              [&](const Kernels& kernels, size_t m, const int8_t* q, const int32_t* q_sums,
                  const uint8_t* w, const int32_t* index, int32_t* sums) {
                kernels.ternary_columns_few(m, count, kRowBlocks, q, count, q_sums, w, index, sums,
                                            kWide);
              });
  }
}
