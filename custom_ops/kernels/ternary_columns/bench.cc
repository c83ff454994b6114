#include "testing/sparse.h"

using namespace bitnet;

// The partial sums of tasks are not added.
BENCH(ternary_columns) {
  for (size_t count : {kRows, kRows / 2, kRows / 10}) {
    bench_sparse(bench, "ternary_columns", count, kWide,
                 [](const Kernels& kernels, const uint8_t* w, const Sparse& s, size_t begin,
                    size_t here, int32_t* sums) {
                   kernels.ternary_columns(here, kRowBlocks, s.index.data + begin, s.q.data + begin,
                                           w, sums);
                 });
  }
}
