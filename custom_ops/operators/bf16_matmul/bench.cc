#include "testing/bench.h"

#include "operators/bf16_matmul/bf16_matmul.h"

using namespace bitnet;

// Half of the vocabulary: half of the memory that the weights cycle through.
BENCH(bf16_matmul) {
  constexpr size_t k = 2560, n = 65536;
  Buffer<float> x(k), y(n);
  Buffer<uint8_t> scratch(bf16_matmul_scratch(1, k));
  fill_reals(&x);
  const auto run = [&](const Kernels& kernels, const uint8_t* w) {
    bf16_matmul(kernels, {.m = 1, .k = k, .n = n, .x = x.data, .w = w, .y = y.data}, scratch.data,
                bench.pool);
  };
  check_result(bench, &y, run);
  print(bench, "bf16_matmul", 1, k, n, measure(bench, 2 * k * n, true, run), 2 * k * n,
        static_cast<double>(k * n));
}
