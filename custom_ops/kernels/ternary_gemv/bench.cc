#include "testing/sparse.h"

using namespace bitnet;

BENCH(ternary_gemv) {
  bench_sparse(bench, "ternary_gemv", kRows, 0,
               [](const Kernels& kernels, const uint8_t* w, const Sparse& s, size_t begin,
                  size_t here, int32_t* sums) {
                 kernels.ternary_gemv(here, kRowBlocks, s.q.data, s.q_sum, w + begin * kRowBytes,
                                      sums);
               });
}

// Takes 16 rows at a time, while the next 16 are known.
BENCH(ternary_select) {
  for (size_t count : {kRows, kRows / 2, kRows / 10}) {
    bench_sparse(bench, "ternary_select", count, 0,
                 [](const Kernels& kernels, const uint8_t* w, const Sparse& s, size_t begin,
                    size_t here, int32_t* sums) {
                   for (size_t i = 0; i < here; i += 16) {
                     const size_t known = here - i < 32 ? here - i : 32;
                     kernels.ternary_select(known < 16 ? known : 16, known, kRowBlocks, s.q.data,
                                            s.q_sum, w, s.index.data + begin + i, sums + i);
                   }
                 });
  }
}
