// The operators against the scalar kernels, with every kernel of this CPU, with ==.
#include "kernels/rows/rows.h"
#include "operators/gated/gated.h"
#include "testing/activations.h"

using namespace bitnet;

TEST(gated, tasks) {
  for_products([](const Kernels& kernels, size_t m, size_t k, size_t n, const Pool& pool) {
    const size_t count = m * k * (n % 7 + 1);
    for (const bool gelu : {false, true}) {
      CASE("gated %s count %zu gelu %d", kernels.name, count, gelu);
      Random random = {count};
      Guarded<float> gate(count), up(count), y(count);
      for (size_t i = 0; i < count; i++) {
        gate[i] = 9 * random.real();
        up[i] = random.real();
      }
      gated(kernels, {count, gate.data, up.data, y.data, gelu}, pool);
      (gelu ? gelu_scalar : silu_scalar)(count, up.data, gate.data);
      for (size_t i = 0; i < count; i++) CHECK(same_bits(y[i], gate[i]));
    }
  });
}
