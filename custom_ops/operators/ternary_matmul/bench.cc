#include "testing/bench.h"

#include "operators/ternary.h"
#include "operators/ternary_matmul/ternary_matmul.h"

using namespace bitnet;

BENCH(ternary_matmul) {
  const float scale = 0.5f;
  for (size_t m : {1, 2, 4, 8, 16, 128}) {
    for (const auto& [k, n] : kLinears) {
      Buffer<float> x(m * k), y(m * n);
      Buffer<uint8_t> scratch(ternary_matmul_scratch(m, k));
      fill_reals(&x);
      const auto run = [&, k = k, n = n](const Kernels& kernels, const uint8_t* w) {
        ternary_matmul(kernels,
                       {.m = m,
                        .k = k,
                        .n = n,
                        .x = x.data,
                        .w = w,
                        .scales = reinterpret_cast<const uint8_t*>(&scale),
                        .row_scales = false,
                        .y = y.data},
                       scratch.data, bench.pool);
      };
      check_result(bench, &y, run);
      const size_t bytes = n * blocks_of(k) * kBlockBytes;
      const Times times = measure(bench, bytes, m == 1, run);
      print(bench, "ternary_matmul", m, k, n, times, bytes, static_cast<double>(m * k * n));
    }
  }
}
