#include "testing/bench.h"

#include "operators/level_matmul/level_matmul.h"

using namespace bitnet;

namespace {

void measure_bits(const Bench& bench, int bits) {
  constexpr size_t k = 2560, n = 128256;
  const size_t size = n * level_row_bytes(bits, k);
  Buffer<float> x(k), y(n), scale(n);
  Buffer<uint8_t> levels(n * k / 32), scratch(level_matmul_scratch(1, k) + 64);
  void* aligned = scratch.data + (64 - reinterpret_cast<uintptr_t>(scratch.data) % 64) % 64;
  fill_reals(&x);
  fill_reals(&scale);
  memset(levels.data, 99, levels.count);
  const auto run = [&](const Kernels& kernels, const uint8_t* w) {
    level_matmul(kernels,
                 {.bits = bits,
                  .m = 1,
                  .k = k,
                  .n = n,
                  .x = x.data,
                  .w = w + (64 - reinterpret_cast<uintptr_t>(w) % 64) % 64,
                  .levels = levels.data,
                  .scale = scale.data,
                  .y = y.data},
                 aligned, bench.pool);
  };
  check_result(bench, &y, run);
  print(bench, bits == 4 ? "int4_matmul" : "int6_matmul", 1, k, n, measure(bench, size, true, run),
        size, static_cast<double>(k * n));
}

}  // namespace

BENCH(level_matmul) {
  measure_bits(bench, 4);
  measure_bits(bench, 6);
}
