// The results of the mixtures of experts, for hash.cc.
#include "operators/experts/experts.h"
#include "testing/hash.h"
#include "testing/hash_inputs.h"
#include "testing/pools.h"

using namespace bitnet;

namespace {

struct Mixture {
  size_t m, k, inner, experts, chosen;
};
constexpr Mixture kMixtures[] = {{1, 640, 260, 40, 8}, {1, 1, 1, 1, 1},      {2, 257, 33, 5, 5},
                                 {9, 300, 64, 4, 1},   {33, 130, 96, 32, 8}, {129, 320, 17, 3, 2}};

void hash_experts(const ExpertKind& kind, const Kernels& kernels, Hash* hash) {
  for (const Mixture& s : kMixtures) {
    Experts op = {.kind = &kind,
                  .m = s.m,
                  .k = s.k,
                  .inner = s.inner,
                  .experts = s.experts,
                  .chosen = s.chosen};
    Random random = {s.m + 100 * s.k + 10000000 * s.inner};
    Guarded<float> x(s.m * s.k), y(s.m * s.k), router(s.experts * s.k);
    Guarded<float> scales(s.experts * (s.k > 2 * s.inner ? s.k : 2 * s.inner));
    Guarded<uint8_t> gate_up(2 * s.experts * s.inner * kind.row_bytes(s.k)),
        down(s.experts * s.k * kind.row_bytes(s.inner)),
        scratch(padded(experts_scratch(op), 64) + 64);
    random_floats(&x, &random);
    if (s.m > 2) x[s.k + s.k / 2] = INFINITY;
    random_floats(&router, &random);
    random_floats(&scales, &random);
    if (&kind == &kBf16Expert) {
      random_bf16(&gate_up, &random);
      random_bf16(&down, &random);
    } else {
      random_bits(&gate_up, &random);
      random_bits(&down, &random);
    }
    op.x = x.data;
    op.router = reinterpret_cast<const uint8_t*>(router.data);
    op.gate_up = gate_up.data;
    op.down = down.data;
    op.gate_up_scale = op.down_scale = reinterpret_cast<const uint8_t*>(scales.data);
    op.y = y.data;
    experts(kernels, op, scratch.data, kBackwards);
    hash->add(&y);
  }
}

}  // namespace

void hash_ternary_experts(const Kernels& kernels, Hash* hash) {
  hash_experts(kTernaryExpert, kernels, hash);
}

void hash_bf16_experts(const Kernels& kernels, Hash* hash) {
  hash_experts(kBf16Expert, kernels, hash);
}

void hash_int8_experts(const Kernels& kernels, Hash* hash) {
  hash_experts(kInt8Expert, kernels, hash);
}
