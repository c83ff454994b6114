#include "testing/bench.h"

using namespace bitnet;

BENCH(read) {
  constexpr size_t kPart = size_t{1} << 20;
  double best = 1e9;
  uint64_t sum = 0, first = 0;
  for (size_t repeat = 0; repeat < kRepeats; repeat++) {
    sum = 0;
    const double start = clock_seconds();
    parallel(bench.pool, kWeights / kPart, [&](size_t i) {
      __atomic_fetch_xor(&sum, bench.kernels.read(bench.w + i * kPart, kPart), __ATOMIC_RELAXED);
    });
    if (clock_seconds() - start < best) best = clock_seconds() - start;
    if (repeat == 0) first = read_scalar(bench.w, kWeights);
    CHECK(sum == first);
  }
  print(bench, "read", 0, 0, 0, {best, best}, kWeights, 0);
}
