// The operator against plain loops, with every kernel of this CPU, with ==.
#include <float.h>

#include "operators/ternary_group_matmul/ternary_group_matmul.h"
#include "testing/activations.h"

using namespace bitnet;

namespace {

// Both operators, by the formulas of ternary_group_matmul.h.
void check_group(const Kernels& kernels, bool digits, size_t m, size_t groups, size_t n,
                 const Pool& pool) {
  CASE("ternary_%s_matmul %s m %zu groups %zu n %zu seed %zu", digits ? "float" : "group",
       kernels.name, m, groups, n, m + groups + n);
  Random random = {m + groups + n};
  const size_t k = groups * 128, row = row_bytes_for(k);
  const size_t bytes =
      digits ? ternary_float_matmul_scratch(m, k) : ternary_group_matmul_scratch(m, k);
  Guarded<float> x(m * k), y(m * n), scale(n * groups);
  Guarded<uint8_t> w(n * row), scratch(bytes / 64 * 64 + 64);
  fill_rows(&x, m, k, &random);
  fill_bytes(&w, &random);
  for (size_t i = 0; i < scale.size(); i++) scale[i] = random.real();
  const TernaryGroupMatMul op = {
      .m = m, .k = k, .n = n, .x = x.data, .w = w.data, .scale = scale.data, .y = y.data};
  (digits ? ternary_float_matmul : ternary_group_matmul)(kernels, op, scratch.data, pool);
  for (size_t i = 0; i < m; i++) {
    const float* row_x = x.data + i * k;
    const bool good = finite(row_x, k);
    float most = FLT_MIN;
    for (size_t c = 0; c < k; c++) most = fmaxf(most, fabsf(row_x[c]));
    const float s8 = 127.0f / absmax(row_x, k);
    const double s = digits ? 0x1p30 / most : s8;
    Guarded<int32_t> q(4 * k);  // the digits of each element, lowest first
    for (size_t c = 0; good && c < k; c++) {
      int64_t v = digits ? static_cast<int64_t>(nearbyint(row_x[c] * s))
                         : quantized(row_x[c], s8, -128, 127);
      for (size_t d = 0; d < 4; d++) {
        const int64_t low = (v + 128) - 256 * static_cast<int64_t>(floor((v + 128) / 256.0)) - 128;
        q[4 * c + d] = static_cast<int32_t>(low);
        v = (v - low) / 256;
      }
    }
    for (size_t j = 0; j < n; j++) {
      double totals[4] = {0};
      for (size_t g = 0; good && g < groups; g++) {
        int32_t sums[4] = {0};
        for (size_t c = g * 128; c < (g + 1) * 128; c++) {
          const int weight = code(w.data + j * row, c) - 1;
          for (size_t d = 0; d < 4; d++) sums[d] += q[4 * c + d] * weight;
        }
        for (int d = 0; d < 4; d++) {
          totals[d] += sums[d] * static_cast<double>(scale[j * groups + g]);
        }
      }
      const double total = ((totals[3] * 256 + totals[2]) * 256 + totals[1]) * 256 + totals[0];
      CHECK(same_bits(y[i * n + j], good ? static_cast<float>(total / s) : NAN));
    }
  }
}

}  // namespace

TEST(ternary_group_matmul, products) {
  for_products([](const Kernels& kernels, size_t m, size_t k, size_t n, const Pool& pool) {
    check_group(kernels, false, m, k / 128 + 1, n, pool);
    check_group(kernels, true, m, k / 128 + 1, n, pool);
  });
}
