#include "testing/bench.h"

#include "operators/ternary.h"
#include "operators/ternary_group_matmul/ternary_group_matmul.h"

using namespace bitnet;

// Bytes are those of the codes, without the scales.
BENCH(ternary_group_matmul) {
  for (size_t m : {1, 2, 4, 8, 16, 128}) {
    for (const auto& [k, n] : kLinears) {
      Buffer<float> x(m * k), y(m * n), scale(n * k / kGroupK);
      Buffer<uint8_t> scratch(ternary_float_matmul_scratch(m, k));
      fill_reals(&x);
      fill_reals(&scale);
      for (bool digits : {false, true}) {
        const auto run = [&, k = k, n = n](const Kernels& kernels, const uint8_t* w) {
          (digits ? ternary_float_matmul : ternary_group_matmul)(
              kernels,
              {.m = m, .k = k, .n = n, .x = x.data, .w = w, .scale = scale.data, .y = y.data},
              scratch.data, bench.pool);
        };
        check_result(bench, &y, run);
        const size_t bytes = n * blocks_of(k) * kBlockBytes;
        const Times times = measure(bench, bytes, m == 1, run);
        print(bench, digits ? "ternary_float" : "ternary_group", m, k, n, times, bytes,
              static_cast<double>(m * k * n));
      }
    }
  }
}
