// The operator against plain loops, with every kernel of this CPU, with ==.
#include "operators/ternary_matmul/ternary_matmul.h"
#include "testing/activations.h"

using namespace bitnet;

namespace {

void check_ternary(const Kernels& kernels, size_t m, size_t k, size_t n, bool row_scales,
                   const Pool& pool) {
  CASE("ternary_matmul %s m %zu k %zu n %zu row scales %d seed %zu", kernels.name, m, k, n,
       row_scales, m + k + n);
  Random random = {m + k + n};
  const size_t row = row_bytes_for(k);
  Guarded<float> x(m * k), y(m * n);
  Guarded<uint8_t> w(n * row), scratch(ternary_matmul_scratch(m, k) / 64 * 64 + 64);
  fill_rows(&x, m, k, &random);
  fill_bytes(&w, &random);
  if (n % 2 == 0) make_valid(&w);
  Guarded<float> scales(row_scales ? n : 1);
  for (size_t i = 0; i < scales.size(); i++) scales[i] = 0.7f + random.real();
  ternary_matmul(kernels,
                 {.m = m,
                  .k = k,
                  .n = n,
                  .x = x.data,
                  .w = w.data,
                  .scales = bytes_of(scales),
                  .row_scales = row_scales,
                  .y = y.data},
                 scratch.data, pool);
  std::vector<float> act_scales(m);
  std::vector<int> q(m * k);  // zero where a row is not finite
  for (size_t i = 0; i < m; i++) {
    const float* row_x = x.data + i * k;
    act_scales[i] = 127.0f / absmax(row_x, k);
    if (!finite(row_x, k)) continue;
    for (size_t c = 0; c < k; c++) q[i * k + c] = quantized(row_x[c], act_scales[i], -128, 127);
  }
  for (size_t j = 0; j < n; j++) {
    const std::vector<int8_t> weights = weights_of(w.data + j * row, k);
    for (size_t i = 0; i < m; i++) {
      const int32_t sum = product(q.data() + i * k, weights);
      const float rescale = scales[row_scales ? j : 0] / act_scales[i];
      const bool good = finite(x.data + i * k, k);
      CHECK(same_bits(y[i * n + j], good ? static_cast<float>(sum) * rescale : NAN));
    }
  }
}

}  // namespace

TEST(ternary_matmul, products) {
  for_products([](const Kernels& kernels, size_t m, size_t k, size_t n, const Pool& pool) {
    check_ternary(kernels, m, k, n, false, pool);
    check_ternary(kernels, m, k, n, true, pool);
  });
}

// Rectangles of many weight rows, whose sums are where the results go.
TEST(ternary_matmul, wide) {
  const Kernels** list;
  const size_t count = tested_kernels(&list);
  for (size_t i = 0; i < count; i++) {
    for (const Pool& pool : pools()) {
      check_ternary(*list[i], 17, 100, 1100, true, pool);
      check_ternary(*list[i], 131, 257, 70, false, pool);
      check_ternary(*list[i], 515, 65, 192, true, pool);
    }
  }
}
