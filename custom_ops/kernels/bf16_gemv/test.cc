// Every row of the list that this CPU can run, against the formula, with ==.
#include "testing/ternary.h"

using namespace bitnet;

namespace {

struct Row {
  const char* isa;
  uint32_t needs;
  Bf16Gemv* gemv;
} const kRows[] = {
#define KERNEL(isa, needs) {#isa, needs, bf16_gemv_##isa},
#include "kernels/bf16_gemv/kernels.inc"
};

float bf16(uint16_t half) {
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

float product(const float* x, const uint16_t* w, size_t k) {
  double lanes[16] = {0};
  for (size_t i = 0; i < k; i++) lanes[i % 16] += static_cast<double>(x[i]) * bf16(w[i]);
  for (int step = 8; step > 0; step /= 2) {
    for (int lane = 0; lane < step; lane++) lanes[lane] += lanes[lane + step];
  }
  return static_cast<float>(lanes[0]);
}

void check(const Row& row, size_t m, size_t n, size_t k, bool any_bits, size_t seed) {
  CASE("bf16_gemv_%s m %zu n %zu k %zu any bits %d seed %zu", row.isa, m, n, k, any_bits, seed);
  Random random = {seed};
  const size_t padded = (k + kPadBf16 - 1) / kPadBf16 * kPadBf16;
  const size_t stride = n + m % 2;  // some results lie apart
  Guarded<float> x(m * k), y((m - 1) * stride + n);
  Guarded<double> wide(m * padded);
  Guarded<uint16_t> w(n * k);
  for (size_t i = 0; i < m * k; i++) {
    const size_t at = i % k;
    x[i] = random.real() * (random.below(50) ? 1 : 1e30f);
    wide[i / k * padded + at / 16 * 16 + at % 16 / 2 + (at % 2 ? 8 : 0)] = x[i];
  }
  for (size_t i = 0; i < w.size(); i++) {
    const float value = random.real();
    uint32_t bits;
    memcpy(&bits, &value, 4);
    w[i] = any_bits && random.below(8) == 0 ? static_cast<uint16_t>(random.next())
                                            : static_cast<uint16_t>(bits >> 16);
  }
  const uint8_t* rows = reinterpret_cast<const uint8_t*>(w.data);
  const uint8_t* next = m % 2 ? rows + random.below(n) * 2 * k : nullptr;
  row.gemv(m, n, k, wide.data, padded, rows, next, y.data, stride);
  for (size_t i = 0; i < m; i++) {
    for (size_t j = 0; j < n; j++) {
      CHECK(same_bits(y[i * stride + j], product(x.data + i * k, w.data + j * k, k)));
    }
  }
}

}  // namespace

TEST(bf16_gemv, shapes) {
  for (const Row& row : kRows) {
    if (!tested(kRows, row)) continue;
    for (size_t k : kDepths) {
      for (size_t n = 1; n <= 9; n++) {
        check(row, 1, n, k, false, k * 100 + n);
        check(row, 1, n, k, true, k * 200 + n);
        check(row, 2 + n % 6, n, k, n % 2, k * 300 + n);
      }
    }
  }
}
