// The operator against plain loops, with every kernel of this CPU, with ==.
#include "operators/level_matmul/level_matmul.h"
#include "testing/activations.h"
#include "testing/levels.h"

using namespace bitnet;

namespace {

template <int Bits>
void check(const Kernels& kernels, size_t m, size_t k, size_t n, const Pool& pool) {
  CASE("int%d_matmul %s m %zu k %zu n %zu seed %zu", Bits, kernels.name, m, k, n, m + k + n);
  Random random = {m + k + n};
  LevelRows w(Bits, n, k);
  Guarded<float> x(m * k), y(m * n), scale(n);
  Guarded<uint8_t> scratch(level_matmul_scratch(m, k) / 64 * 64 + 64);
  fill_rows(&x, m, k, &random);
  w.fill(&random);
  for (size_t i = 0; i < n; i++) scale[i] = random.real();
  level_matmul(kernels,
               {.bits = Bits,
                .m = m,
                .k = k,
                .n = n,
                .x = x.data,
                .w = w.codes.data,
                .levels = reinterpret_cast<const uint8_t*>(w.levels.data),
                .scale = scale.data,
                .y = y.data},
               scratch.data, pool);
  for (size_t i = 0; i < m; i++) {
    const float* row_x = x.data + i * k;
    const float s = 32512.0f / absmax(row_x, k), inverse = 1.0f / s;
    const bool good = finite(row_x, k);
    Guarded<int> q(k);
    for (size_t c = 0; good && c < k; c++) q[c] = quantized(row_x[c], s, -32512, 32512);
    for (size_t j = 0; j < n; j++) {
      int64_t sum = 0;
      for (size_t c = 0; good && c < k; c++) sum += int64_t{q[c]} * w.at(j, c);
      const float expected = static_cast<float>(sum) * scale[j] * inverse;
      CHECK(same_bits(y[i * n + j], good ? expected : NAN));
    }
  }
}

}  // namespace

TEST(level_matmul, products_of_4_bits) { for_products(check<4>); }
TEST(level_matmul, products_of_6_bits) { for_products(check<6>); }
