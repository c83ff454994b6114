#include "testing/bench.h"

#include "operators/int8_matmul/int8_matmul.h"

using namespace bitnet;

BENCH(int8_matmul) {
  constexpr size_t k = 2560, n = 128256;
  Buffer<float> x(k), y(n), scale(n);
  Buffer<uint8_t> scratch(int8_matmul_scratch(1, k));
  fill_reals(&x);
  fill_reals(&scale);
  const auto run = [&](const Kernels& kernels, const uint8_t* w) {
    int8_matmul(kernels,
                {.m = 1, .k = k, .n = n, .x = x.data, .w = w, .scale = scale.data, .y = y.data},
                scratch.data, bench.pool);
  };
  check_result(bench, &y, run);
  print(bench, "int8_matmul", 1, k, n, measure(bench, k * n, true, run), k * n,
        static_cast<double>(k * n));
}
