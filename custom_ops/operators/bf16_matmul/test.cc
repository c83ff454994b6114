// The operator against plain loops, with every kernel of this CPU, with ==.
#include "operators/bf16_matmul/bf16_matmul.h"
#include "testing/activations.h"

using namespace bitnet;

namespace {

void check(const Kernels& kernels, size_t m, size_t k, size_t n, const Pool& pool) {
  CASE("bf16_matmul %s m %zu k %zu n %zu seed %zu", kernels.name, m, k, n, m + k + n);
  Random random = {m + k + n};
  Guarded<float> x(m * k), y(m * n);
  Guarded<uint8_t> w(2 * n * k), scratch(bf16_matmul_scratch(m, k) / 64 * 64 + 64);
  fill_rows(&x, m, k, &random);
  for (size_t i = 0; i < n * k; i++) {
    const float value = random.real();
    memcpy(w.data + 2 * i, reinterpret_cast<const char*>(&value) + 2, 2);
  }
  bf16_matmul(kernels, {.m = m, .k = k, .n = n, .x = x.data, .w = w.data, .y = y.data},
              scratch.data, pool);
  for (size_t i = 0; i < m; i++) {
    for (size_t j = 0; j < n; j++) {
      double lanes[16] = {0};
      for (size_t c = 0; c < k; c++) {
        float weight = 0;
        memcpy(reinterpret_cast<char*>(&weight) + 2, w.data + 2 * (j * k + c), 2);
        lanes[c % 16] += static_cast<double>(x[i * k + c]) * weight;
      }
      for (int step = 8; step > 0; step /= 2) {
        for (int lane = 0; lane < step; lane++) lanes[lane] += lanes[lane + step];
      }
      CHECK(same_bits(y[i * n + j], static_cast<float>(lanes[0])));
    }
  }
}

}  // namespace

TEST(bf16_matmul, products) { for_products(check); }
