#include "testing/bench.h"

using namespace bitnet;

// A sixteenth of the head of BitNet b1.58 2B-4T, from memory.
BENCH(int8_gemv) {
  constexpr size_t k = 2560, n = 8016, part = 16;
  for (size_t m : {1, 2, 4, 8, 16}) {
    Buffer<int16_t> q(m * k);
    Buffer<int64_t> sums(m * n);
    Random random = {3};
    for (size_t i = 0; i < q.count; i++)
      q.data[i] = static_cast<int16_t>(random.below(65025)) - 32512;
    const auto run = [&](const Kernels& kernels, const uint8_t* w) {
      parallel(bench.pool, n / part, [&](size_t task) {
        kernels.int8_gemv(m, part, k, q.data, k, w + task * part * k, sums.data + task * part, n);
      });
    };
    check_result(bench, &sums, run);
    print(bench, "int8_gemv", m, k, n, measure(bench, k * n, true, run), k * n,
          static_cast<double>(m * k * n));
  }
}
