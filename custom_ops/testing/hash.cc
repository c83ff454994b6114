// One hash for each operator, of all bits of its results for fixed inputs. The hashes are the same
// on every CPU, with every compiler and every kernel, and stand below.
//     hash [kernel | all]    by default the best kernel of this CPU
#include "testing/hash.h"

#include <math.h>

#include "kernels/kernels.h"
#include "operators/bf16_matmul/bf16_matmul.h"
#include "operators/gated/gated.h"
#include "operators/int8_matmul/int8_matmul.h"
#include "operators/level_matmul/level_matmul.h"
#include "operators/rms_norm/rms_norm.h"
#include "operators/ternary.h"
#include "operators/ternary_feed_forward/ternary_column_matmul.h"
#include "operators/ternary_feed_forward/ternary_gated_matmul.h"
#include "operators/ternary_group_matmul/ternary_group_matmul.h"
#include "operators/ternary_matmul/ternary_matmul.h"
#include "operators/two_step_matmul/two_step_level_matmul.h"
#include "operators/two_step_matmul/two_step_matmul.h"
#include "platform/sizes.h"
#include "testing/check.h"
#include "testing/hash_inputs.h"
#include "testing/pools.h"

using namespace bitnet;

int failures = 0;
char current_case[256] = "start";

static void quantizers(const Kernels& kernels, Hash* hash) {
  for (size_t k : {1, 15, 64, 300, 2560}) {
    const size_t wide = padded(k, kBlockK);
    Random random = {k};
    Guarded<float> x(k);
    Guarded<int8_t> q8(wide), digits(4 * wide);
    Guarded<int16_t> q16(wide);
    Guarded<double> doubles(wide);
    random_floats(&x, &random);
    int32_t sum = 0;
    const float scales[2] = {kernels.quantize_int8(x.data, k, wide, q8.data, &sum),
                             kernels.quantize_int16(x.data, k, wide, q16.data)};
    const double scale = kernels.quantize_digits(x.data, k, wide, digits.data);
    kernels.widen_bf16(x.data, k, wide, doubles.data);
    hash->add(scales, sizeof scales);
    hash->add(&scale, sizeof scale);
    hash->add(&sum, sizeof sum);
    hash->add(q8.data, wide);
    hash->add(q16.data, 2 * wide);
    hash->add(digits.data, 4 * wide);
    hash->add(doubles.data, 8 * wide);
  }
}

static void norms(const Kernels& kernels, Hash* hash) {
  for (const Shape& s : kShapes) {
    Inputs in(s, 0, s.k, 0);
    Guarded<float> y(s.m * s.k);
    rms_norm(
        kernels,
        {.m = s.m, .k = s.k, .x = in.x.data, .weight = in.scales(), .epsilon = 1e-5f, .y = y.data},
        kBackwards);
    hash->add(&y);
  }
}

static void gates(const Kernels& kernels, Hash* hash) {
  for (const Shape& s : kShapes) {
    Random random = {s.k};
    Guarded<float> gate(s.m * s.k), up(s.m * s.k), y(s.m * s.k);
    random_floats(&gate, &random);
    random_floats(&up, &random);
    for (const bool gelu : {false, true}) {
      gated(kernels, {s.m * s.k, gate.data, up.data, y.data, gelu}, kBackwards);
      hash->add(&y);
    }
  }
}

static void ternary(const Kernels& kernels, Hash* hash) {
  for (const Shape& s : kShapes) {
    Inputs in(s, s.n * blocks_of(s.k) * kBlockBytes, s.n, ternary_matmul_scratch(s.m, s.k));
    ternary_matmul(kernels,
                   {.m = s.m,
                    .k = s.k,
                    .n = s.n,
                    .x = in.x.data,
                    .w = in.w.data,
                    .scales = in.scales(),
                    .row_scales = true,
                    .y = in.y.data},
                   in.scratch.data, kBackwards);
    hash->add(&in.y);
  }
}

static void ternary_gated(const Kernels& kernels, Hash* hash) {
  for (const Shape& s : kShapes) {
    Inputs in(s, s.n * blocks_of(s.k) * kBlockBytes, 2, ternary_gated_matmul_scratch(s.m, s.k));
    ternary_gated_matmul(kernels,
                         {.m = s.m,
                          .k = s.k,
                          .n = s.n,
                          .x = in.x.data,
                          .gate = in.w.data,
                          .up = in.other.data,
                          .gate_scale = in.scales(),
                          .up_scale = in.scales() + 4,
                          .y = in.y.data},
                         in.scratch.data, kBackwards);
    hash->add(&in.y);
  }
}

static void ternary_column(const Kernels& kernels, Hash* hash) {
  for (const Shape& s : kShapes) {
    Inputs in(s, s.k * blocks_of(s.n) * kBlockBytes, s.n,
              ternary_column_matmul_scratch(s.m, s.k, s.n), 60);
    ternary_column_matmul(kernels,
                          {.m = s.m,
                           .k = s.k,
                           .n = s.n,
                           .x = in.x.data,
                           .w = in.w.data,
                           .scales = in.scales(),
                           .y = in.y.data},
                          in.scratch.data, kBackwards);
    hash->add(&in.y);
  }
}

static void ternary_groups(const Kernels& kernels, Hash* hash) {
  for (Shape s : kShapes) {
    s.k = padded(s.k, kGroupK);
    Inputs in(s, s.n * blocks_of(s.k) * kBlockBytes, s.n * s.k / kGroupK,
              ternary_float_matmul_scratch(s.m, s.k));
    const TernaryGroupMatMul op = {.m = s.m,
                                   .k = s.k,
                                   .n = s.n,
                                   .x = in.x.data,
                                   .w = in.w.data,
                                   .scale = in.scale.data,
                                   .y = in.y.data};
    ternary_group_matmul(kernels, op, in.scratch.data, kBackwards);
    hash->add(&in.y);
    ternary_float_matmul(kernels, op, in.scratch.data, kBackwards);
    hash->add(&in.y);
  }
}

static void int8(const Kernels& kernels, Hash* hash) {
  for (const Shape& s : kShapes) {
    Inputs in(s, s.n * s.k, s.n, int8_matmul_scratch(s.m, s.k));
    int8_matmul(kernels,
                {.m = s.m,
                 .k = s.k,
                 .n = s.n,
                 .x = in.x.data,
                 .w = in.w.data,
                 .scale = in.scale.data,
                 .y = in.y.data},
                in.scratch.data, kBackwards);
    hash->add(&in.y);
  }
}

template <int Bits>
static void levels(const Kernels& kernels, Hash* hash) {
  for (const Shape& s : kShapes) {
    Inputs in(s, s.n * level_row_bytes(Bits, s.k), s.n, level_matmul_scratch(s.m, s.k));
    level_matmul(kernels,
                 {.bits = Bits,
                  .m = s.m,
                  .k = s.k,
                  .n = s.n,
                  .x = in.x.data,
                  .w = in.w.data,
                  .levels = in.other.data,
                  .scale = in.scale.data,
                  .y = in.y.data},
                 in.scratch.data, kBackwards);
    hash->add(&in.y);
  }
}

static void bf16(const Kernels& kernels, Hash* hash) {
  for (const Shape& s : kShapes) {
    Inputs in(s, 2 * s.n * s.k, 0, bf16_matmul_scratch(s.m, s.k));
    random_bf16(&in.w, &in.random);
    bf16_matmul(kernels,
                {.m = s.m, .k = s.k, .n = s.n, .x = in.x.data, .w = in.w.data, .y = in.y.data},
                in.scratch.data, kBackwards);
    hash->add(&in.y);
  }
}

// `bound` does not hold for such a scan, but decides in the same way what is read again.
static void two_step(const Kernels& kernels, Hash* hash) {
  for (const Shape& s : kShapes) {
    Inputs in(s, 2 * s.n * s.k, s.n, two_step_matmul_scratch(s.m, s.k));
    Guarded<float> bound(s.n);
    random_bounds(1.0f / 127, &in, &bound);
    two_step_matmul(kernels,
                    {.m = s.m,
                     .k = s.k,
                     .n = s.n,
                     .x = in.x.data,
                     .w = in.w.data,
                     .scan = in.other.data,
                     .scale = in.scale.data,
                     .bound = bound.data,
                     .y = in.y.data},
                    in.scratch.data, kBackwards);
    hash->add(&in.y);
  }
}

// Levels and codes overlap: any bits will do.
template <int Bits>
static void two_step_levels(const Kernels& kernels, Hash* hash) {
  for (const Shape& s : kShapes) {
    const size_t codes = s.n * level_row_bytes(Bits, s.k), weights = 2 * s.n * s.k;
    Inputs in(s, larger(codes, weights), s.n, two_step_level_matmul_scratch(s.m, s.k));
    Guarded<float> bound(s.n);
    random_bounds(1.0f / 1024, &in, &bound);
    two_step_level_matmul(kernels,
                          {.bits = Bits,
                           .m = s.m,
                           .k = s.k,
                           .n = s.n,
                           .x = in.x.data,
                           .w = in.w.data,
                           .codes = in.other.data,
                           .levels = in.other.data,
                           .scale = in.scale.data,
                           .bound = bound.data,
                           .y = in.y.data},
                          in.scratch.data, kBackwards);
    hash->add(&in.y);
  }
}

// A change of a formula or an input changes its hash here.
static const struct {
  const char* name;
  void (*run)(const Kernels& kernels, Hash* hash);
  uint64_t expected;
} kOperators[] = {
    {"quantize", quantizers, 0x1d977d81b54bdc5a},
    {"rms_norm", norms, 0x74399bcf418cf1c6},
    {"ternary_matmul", ternary, 0x7b11b0b3952d3a9e},
    {"ternary_gated_matmul", ternary_gated, 0x2b68ff07552472d1},
    {"ternary_column_matmul", ternary_column, 0x8996836bb58206b0},
    {"ternary_group_matmul", ternary_groups, 0xe2ebfedaf0ef1145},
    {"int8_matmul", int8, 0xae0bca194ad92b72},
    {"int6_matmul", levels<6>, 0xac69f35903a56945},
    {"int4_matmul", levels<4>, 0x81fcad195919dbe7},
    {"bf16_matmul", bf16, 0x043b86b9bc49746f},
    {"two_step_matmul", two_step, 0x80c38a18675f9326},
    {"two_step_int6_matmul", two_step_levels<6>, 0xe8cf4248e11d52bf},
    {"two_step_int4_matmul", two_step_levels<4>, 0x31c96549736fd62b},
    {"attention", hash_attention, 0x3fd0d887c442ab54},
    {"attention_int8", hash_attention_int8, 0x02ad8a8045a31fc6},
    {"attention_int4", hash_attention_int4, 0x3c14653ccf380b5f},
    {"gated", gates, 0xf3a7a095ec5aa2f2},
    {"ternary_experts", hash_ternary_experts, 0x1ceede610f491bc1},
    {"bf16_experts", hash_bf16_experts, 0xacc78af07d4f3807},
    {"int8_experts", hash_int8_experts, 0x2bb0ae89fb8798b2},
};

static void print(const Kernels& kernels) {
  fprintf(stderr, "kernel %s\n", kernels.name);
  for (const auto& op : kOperators) {
    CASE("%s with %s", op.name, kernels.name);
    Hash hash;
    op.run(kernels, &hash);
    printf("%-21s  %016llx\n", op.name, static_cast<unsigned long long>(hash.value));
    CHECK(hash.value == op.expected);
  }
}

int main(int argc, char** argv) {
  const char* name = argc > 1 ? argv[1] : nullptr;
  const Kernels** list;
  const size_t count = offered_kernels(&list);
  if (name && strcmp(name, "all") == 0) {
    for (size_t i = 0; i < count; i++) print(*list[i]);
  } else if (const Kernels* kernels = find_kernels(name)) {
    print(*kernels);
  } else {
    fprintf(stderr, "kernel is %s, expected one of %s\n", name, offered_names());
    return 2;
  }
  return failures != 0;
}
