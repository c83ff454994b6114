// The operator against plain loops, with every kernel of this CPU, with ==.
#include "operators/rms_norm/rms_norm.h"
#include "testing/activations.h"

using namespace bitnet;

namespace {

void check_rms_norm(const Kernels& kernels, size_t m, size_t k, bool adds, const Pool& pool) {
  CASE("rms_norm %s m %zu k %zu adds %d", kernels.name, m, k, adds);
  Random random = {m + k};
  Guarded<float> x(m * k), residual(m * k), sum(m * k), weight(k), y(m * k);
  fill_rows(&x, m, k, &random);
  fill_rows(&residual, m, k, &random);
  for (size_t i = 0; i < k; i++) weight[i] = random.real();
  rms_norm(kernels,
           {.m = m,
            .k = k,
            .x = x.data,
            .weight = bytes_of(weight),
            .epsilon = 1e-5f,
            .y = y.data,
            .residual = adds ? residual.data : nullptr,
            .sum = sum.data},
           pool);
  for (size_t i = 0; adds && i < m * k; i++) {
    x[i] += residual[i];
    CHECK(same_bits(sum[i], x[i]));
  }
  Guarded<float> own(m * k);  // in place
  memcpy(own.data, x.data, m * k * sizeof(float));
  rms_norm(
      kernels,
      {.m = m, .k = k, .x = own.data, .weight = bytes_of(weight), .epsilon = 1e-5f, .y = own.data},
      pool);
  for (size_t i = 0; i < m * k; i++) CHECK(same_bits(own[i], y[i]));
  for (size_t i = 0; i < m; i++) {
    double lanes[16] = {0};
    for (size_t c = 0; c < k; c++) {
      lanes[c % 16] += static_cast<double>(x[i * k + c]) * static_cast<double>(x[i * k + c]);
    }
    for (int step = 8; step > 0; step /= 2) {
      for (int lane = 0; lane < step; lane++) lanes[lane] += lanes[lane + step];
    }
    const double mean = lanes[0] / static_cast<double>(k);
    const float inverse = static_cast<float>(1.0 / sqrt(mean + static_cast<double>(1e-5f)));
    for (size_t c = 0; c < k; c++) {
      CHECK(same_bits(y[i * k + c], (x[i * k + c] * inverse) * weight[c]));
    }
  }
}

}  // namespace

TEST(rms_norm, rows) {
  for_products([](const Kernels& kernels, size_t m, size_t k, size_t, const Pool& pool) {
    check_rms_norm(kernels, m, k, false, pool);
    check_rms_norm(kernels, m, k, true, pool);
  });
}
