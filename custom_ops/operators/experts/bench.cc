#include "testing/bench.h"

#include "operators/experts/experts.h"
#include "operators/ternary.h"
#include "operators/ternary_feed_forward/ternary_feed_forward.h"

using namespace bitnet;

namespace {

// A feed-forward of PowerMoE-3B, and the dense one with as many weights as a token has active.
constexpr size_t kFeatures = 1536, kInner = 512, kExperts = 40, kChosen = 8;
constexpr size_t kDense = kInner * kChosen;

void bench_experts(const Bench& bench, size_t m) {
  const size_t gate_up = kExperts * 2 * kInner * blocks_of(kFeatures) * kBlockBytes;
  const size_t down = kExperts * kFeatures * blocks_of(kInner) * kBlockBytes;
  Buffer<float> x(m * kFeatures), y(m * kFeatures), router(kExperts * kFeatures),
      scales(3 * kExperts);
  fill_reals(&x);
  Random random = {2};
  for (size_t i = 0; i < router.count; i++) router.data[i] = random.real();
  for (size_t i = 0; i < scales.count; i++) scales.data[i] = 0.01f;
  Experts op = {.kind = &kTernaryExpert,
                .m = m,
                .k = kFeatures,
                .inner = kInner,
                .experts = kExperts,
                .chosen = kChosen,
                .x = x.data,
                .router = reinterpret_cast<const uint8_t*>(router.data),
                .gate_up_scale = reinterpret_cast<const uint8_t*>(scales.data),
                .down_scale = reinterpret_cast<const uint8_t*>(scales.data),
                .y = y.data};
  Buffer<uint8_t> scratch(experts_scratch(op));
  Count skipped(0);
  const auto run = [&](const Kernels& kernels, const uint8_t* w) {
    op.gate_up = w;
    op.down = w + gate_up;
    experts(kernels, op, scratch.data, bench.pool);
  };
  check_result(bench, &y, run);
  op.skipped = &skipped;
  run(bench.kernels, bench.w);
  op.skipped = nullptr;
  const size_t read = gate_up + down - skipped + router.count * sizeof(float);
  print(bench, "experts", m, kFeatures, kDense, measure(bench, gate_up + down, m == 1, run), read,
        static_cast<double>(m * 3 * kFeatures * kDense));
}

// The dense one of the same active weights: a mixture of one expert, silu included.
void bench_dense(const Bench& bench, size_t m) {
  const size_t gate_up = 2 * kDense * blocks_of(kFeatures) * kBlockBytes;
  const size_t down = kFeatures * blocks_of(kDense) * kBlockBytes;
  Buffer<float> x(m * kFeatures), y(m * kFeatures), router(kFeatures);
  const float scales[2] = {0.01f, 0.01f};
  fill_reals(&x);
  Experts op = {.kind = &kTernaryExpert,
                .m = m,
                .k = kFeatures,
                .inner = kDense,
                .experts = 1,
                .chosen = 1,
                .x = x.data,
                .router = reinterpret_cast<const uint8_t*>(router.data),
                .gate_up_scale = reinterpret_cast<const uint8_t*>(scales),
                .down_scale = reinterpret_cast<const uint8_t*>(scales),
                .y = y.data};
  Buffer<uint8_t> scratch(experts_scratch(op));
  const auto run = [&](const Kernels& kernels, const uint8_t* w) {
    op.gate_up = w;
    op.down = w + gate_up;
    experts(kernels, op, scratch.data, bench.pool);
  };
  check_result(bench, &y, run);
  print(bench, "one_expert", m, kFeatures, kDense, measure(bench, gate_up + down, m == 1, run),
        gate_up + down, static_cast<double>(m * 3 * kFeatures * kDense));
}

// BitNet's own, which skips what closed gates make 0: on the same weights.
void bench_feed_forward(const Bench& bench, size_t m, size_t k, size_t n) {
  const size_t up = n * blocks_of(k) * kBlockBytes, down = up + n * blocks_of(k) * kBlockBytes;
  Buffer<float> x(m * k), y(m * k), ones(n > k ? n : k);
  const float scale = 0.01f;
  fill_reals(&x);
  for (size_t i = 0; i < ones.count; i++) ones.data[i] = 1;
  Count rows(0), columns(0);
  TernaryFeedForward op = {.m = m,
                           .k = k,
                           .n = n,
                           .width = k,
                           .x = x.data,
                           .gate = nullptr,
                           .up = nullptr,
                           .gate_scale = reinterpret_cast<const uint8_t*>(&scale),
                           .up_scale = reinterpret_cast<const uint8_t*>(&scale),
                           .norm = reinterpret_cast<const uint8_t*>(ones.data),
                           .epsilon = 1e-5f,
                           .down = nullptr,
                           .down_scale = reinterpret_cast<const uint8_t*>(ones.data),
                           .y = y.data,
                           .normed = nullptr,
                           .skipped_rows = nullptr,
                           .skipped_columns = nullptr};
  Buffer<uint8_t> scratch(ternary_feed_forward_scratch(op));
  const auto run = [&](const Kernels& kernels, const uint8_t* w) {
    op.gate = w;
    op.up = w + up;
    op.down = w + down;
    ternary_feed_forward(kernels, op, scratch.data, bench.pool);
  };
  check_result(bench, &y, run);
  op.skipped_rows = &rows;
  op.skipped_columns = &columns;
  run(bench.kernels, bench.w);
  const size_t bytes = 3 * up, read = bytes - rows - columns;
  op.skipped_rows = op.skipped_columns = nullptr;
  print(bench, "feed_forward", m, k, n, measure(bench, bytes, m == 1, run), read,
        static_cast<double>(m * 3 * k * n));
}

}  // namespace

BENCH(experts) {
  for (size_t m : {1, 2, 4, 16, 512}) {
    bench_experts(bench, m);
    bench_dense(bench, m);
    bench_feed_forward(bench, m, kFeatures, kDense);
  }
  bench_feed_forward(bench, 1, 2560, 6912);
}
