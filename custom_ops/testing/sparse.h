// One activation row and the 6912 rows, or columns, of a matrix of BitNet b1.58 2B-4T, of which
// some are read. Shared by the benchmarks of the kernels that skip.
#pragma once

#include "testing/bench.h"

constexpr size_t kRows = 6912, kRowBytes = 640, kRowBlocks = 10, kWide = 2560;

struct Sparse {
  Buffer<int32_t> index;
  Buffer<int8_t> q;
  int32_t q_sum = 0;  // of the first kWide

  explicit Sparse(size_t count) : index(count), q(kRows) {
    Random random = {3};
    for (size_t i = 0; i < kRows; i++) q.data[i] = static_cast<int8_t>(random.next());
    for (size_t i = 0; i < kWide; i++) q_sum += q.data[i];
    for (size_t from = 0, to = 0; to < count; from++) {
      if (random.below(kRows - from) < count - to) index.data[to++] = static_cast<int32_t>(from);
    }
  }
};

// Measures run(kernels, w, sparse, begin, here, sums), called for each task with as many rows as an
// operator gives it. task_sums: how many sums a task has; 0: one for each row.
template <typename Run>
void bench_sparse(const Bench& bench, const char* name, size_t count, size_t task_sums,
                  const Run& run) {
  const Sparse sparse(count);
  const size_t part = bitnet::rows_per_task(count, kRowBytes, 4, count);
  const size_t tasks = (count + part - 1) / part;
  Buffer<int32_t> sums(task_sums ? tasks * task_sums : count);
  const auto whole = [&](const bitnet::Kernels& kernels, const uint8_t* w) {
    parallel(bench.pool, tasks, [&](size_t task) {
      const size_t begin = task * part, here = count - begin < part ? count - begin : part;
      run(kernels, w, sparse, begin, here, sums.data + (task_sums ? task * task_sums : begin));
    });
  };
  check_result(bench, &sums, whole);
  const Times times = measure(bench, kRows * kRowBytes, true, whole);
  print(bench, name, 1, kWide, count, times, count * kRowBytes, static_cast<double>(count * kWide));
}
