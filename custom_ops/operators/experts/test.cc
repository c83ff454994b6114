// The mixtures of every kernel against the formula, expert by expert, with ==.
#include <algorithm>

#include "operators/bf16_matmul/bf16_matmul.h"
#include "operators/experts/experts.h"
#include "operators/int8_matmul/int8_matmul.h"
#include "operators/ternary_matmul/ternary_matmul.h"
#include "testing/activations.h"

using namespace bitnet;

namespace {

struct Size {
  size_t m, k, inner, experts, chosen;
};

// Decode and prefill; one expert, all experts, numbers that are no power of two; experts that get
// no token, one, few and many; more rows than a slab has, and more tokens.
constexpr Size kSizes[] = {{1, 1, 1, 1, 1},       {1, 300, 70, 8, 2},  {2, 257, 33, 5, 5},
                           {5, 320, 65, 40, 8},   {20, 64, 300, 4, 1}, {70, 40, 20, 3, 2},
                           {130, 140, 65, 32, 4}, {530, 33, 20, 7, 3}, {1, 1030, 260, 40, 8},
                           {40, 20, 9, 1000, 3},  {64, 520, 70, 3, 2}};

// The inputs of a mixture.
struct Mixture {
  const ExpertKind& kind;
  Size s;
  size_t row_bytes, down_bytes;
  float limit = 0;
  Guarded<float> x, router, gate_up_scale, down_scale, y;
  Guarded<uint8_t> gate_up, down, scratch;

  Mixture(const ExpertKind& kind, const Size& s)
      : kind(kind),
        s(s),
        row_bytes(kind.row_bytes(s.k)),
        down_bytes(kind.row_bytes(s.inner)),
        x(s.m * s.k),
        router(s.experts * s.k),
        gate_up_scale(s.experts * 2 * (kind.row_scales ? s.inner : 1)),
        down_scale(s.experts * (kind.row_scales ? s.k : 1)),
        y(s.m * s.k),
        gate_up(s.experts * 2 * s.inner * row_bytes),
        down(s.experts * s.k * down_bytes),
        scratch(experts_scratch(op()) + 64 - experts_scratch(op()) % 64) {
    Random random = {s.m + s.k + s.experts};
    fill_rows(&x, s.m, s.k, &random);
    for (Guarded<float>* some : {&router, &gate_up_scale, &down_scale}) {
      for (size_t i = 0; i < some->size(); i++) (*some)[i] = random.real();
    }
    for (Guarded<uint8_t>* some : {&gate_up, &down}) {
      fill_bytes(some, &random);
      for (size_t i = 0; &kind == &kBf16Expert && i < some->size(); i += 2) {
        const float value = random.real();
        memcpy(some->data + i, reinterpret_cast<const char*>(&value) + 2, 2);
      }
      if (&kind == &kTernaryExpert && s.m % 2 == 0) make_valid(some);
    }
  }

  Experts op() {
    return {.kind = &kind,
            .m = s.m,
            .k = s.k,
            .inner = s.inner,
            .experts = s.experts,
            .chosen = s.chosen,
            .x = x.data,
            .router = bytes_of(router),
            .gate_up = gate_up.data,
            .gate_up_scale = bytes_of(gate_up_scale),
            .down = down.data,
            .down_scale = bytes_of(down_scale),
            .limit = limit,
            .y = y.data};
  }
};

// One row by n rows of weights, with scalar.
void multiply(const ExpertKind& kind, size_t k, size_t n, const float* x, const uint8_t* w,
              const float* scale, float* y) {
  const Kernels& scalar = *find_kernels("scalar");
  if (&kind == &kTernaryExpert) {
    std::vector<char> scratch(ternary_matmul_scratch(1, k) + 64);
    ternary_matmul(scalar,
                   {.m = 1,
                    .k = k,
                    .n = n,
                    .x = x,
                    .w = w,
                    .scales = reinterpret_cast<const uint8_t*>(scale),
                    .row_scales = false,
                    .y = y},
                   scratch.data(), kBackwards);
  } else if (&kind == &kBf16Expert) {
    std::vector<double> scratch(bf16_matmul_scratch(1, k) / 8 + 8);
    bf16_matmul(scalar, {.m = 1, .k = k, .n = n, .x = x, .w = w, .y = y}, scratch.data(),
                kBackwards);
  } else {
    std::vector<double> scratch(int8_matmul_scratch(1, k) / 8 + 8);
    int8_matmul(scalar, {.m = 1, .k = k, .n = n, .x = x, .w = w, .scale = scale, .y = y},
                scratch.data(), kBackwards);
  }
}

// The experts of a token and their shares, 0 for those that are not chosen; NaN for a bad token.
std::vector<float> shares_of(const Size& s, const float* x, const Guarded<float>& router) {
  const Kernels& scalar = *find_kernels("scalar");
  std::vector<float> logits(s.experts), shares(s.experts), scores;
  if (!finite(x, s.k)) return std::vector<float>(s.experts, NAN);
  for (size_t e = 0; e < s.experts; e++) {
    logits[e] = scalar.dot(s.k, x, bytes_of(router) + 4 * e * s.k);
  }
  std::vector<size_t> picks(s.experts);
  for (size_t e = 0; e < s.experts; e++) picks[e] = e;
  std::stable_sort(picks.begin(), picks.end(),
                   [&](size_t one, size_t other) { return logits[one] > logits[other]; });
  picks.resize(s.chosen);
  std::sort(picks.begin(), picks.end());
  for (size_t e : picks) scores.push_back(logits[e]);
  std::vector<double> weights(picks.size());
  const double total = scalar.attend_softmax(picks.size(), scores.data(), weights.data());
  for (size_t i = 0; i < picks.size(); i++) {
    shares[picks[i]] = static_cast<float>(weights[i] / total);
  }
  return shares;
}

std::vector<float> expected(Mixture* in) {
  const Size& s = in->s;
  const size_t scales = in->kind.row_scales ? s.inner : 1, ends = in->kind.row_scales ? s.k : 1;
  std::vector<float> y(s.m * s.k), gate(s.inner), up(s.inner), out(s.k);
  for (size_t i = 0; i < s.m; i++) {
    const float* x = in->x.data + i * s.k;
    const std::vector<float> shares = shares_of(s, x, in->router);
    for (size_t e = 0; e < s.experts; e++) {
      if (shares[e] == 0) continue;
      const uint8_t* w = in->gate_up.data + 2 * e * s.inner * in->row_bytes;
      const float* scale = in->gate_up_scale.data + 2 * e * scales;
      multiply(in->kind, s.k, s.inner, x, w, scale, gate.data());
      multiply(in->kind, s.k, s.inner, x, w + s.inner * in->row_bytes, scale + scales, up.data());
      for (size_t j = 0; in->limit > 0 && j < s.inner; j++) {
        gate[j] = fminf(gate[j], in->limit);
        up[j] = fmaxf(fminf(up[j], in->limit), -in->limit);
      }
      silu_scalar(s.inner, up.data(), gate.data());
      multiply(in->kind, s.inner, s.k, gate.data(), in->down.data + e * s.k * in->down_bytes,
               in->down_scale.data + e * ends, out.data());
      for (size_t j = 0; j < s.k; j++) {
        const float part = out[j] * shares[e];
        y[i * s.k + j] += part;
      }
    }
  }
  return y;
}

// With no `y`, results are not compared.
void check(Mixture* in, const std::vector<float>& y) {
  const Kernels** list;
  const size_t count = tested_kernels(&list);
  for (size_t i = 0; i < count; i++) {
    for (const Pool& pool : pools()) {
      CASE("experts %s m %zu k %zu inner %zu, %zu of %zu, item %zu", list[i]->name, in->s.m,
           in->s.k, in->s.inner, in->s.chosen, in->s.experts, in->kind.item);
      for (size_t j = 0; j < in->y.size(); j++) in->y[j] = 7;
      experts(*list[i], in->op(), in->scratch.data, pool);
      for (size_t j = 0; j < y.size(); j++) CHECK(same_bits(in->y[j], y[j]));
    }
  }
}

}  // namespace

TEST(experts, shapes) {
  for (const ExpertKind* kind : {&kTernaryExpert, &kBf16Expert, &kInt8Expert}) {
    for (const Size& s : kSizes) {
      if (emulated() && s.m > 70) continue;  // slabs and tokens are counted alike on all CPUs
      Mixture in(*kind, s);
#ifdef __SANITIZE_THREAD__  // other builds compare them: here what is expected takes a minute
      check(&in, s.m > 70 ? std::vector<float>() : expected(&in));
#else
      check(&in, expected(&in));
#endif
    }
  }
}

// A limit that some gates and ups exceed, on both sides, changes the results.
TEST(experts, limit) {
  for (const ExpertKind* kind : {&kTernaryExpert, &kBf16Expert, &kInt8Expert}) {
    for (const Size& s : {kSizes[3], kSizes[6]}) {
      Mixture in(*kind, s);
      for (size_t i = 0; i < in.x.size(); i++) {  // a row that is not finite is NaN either way
        if (!isfinite(in.x[i])) in.x[i] = 1;
      }
      const std::vector<float> without = expected(&in);
      in.limit = 0.75f;
      const std::vector<float> with = expected(&in);
      check(&in, with);
      CHECK(with != without);
    }
  }
}

// Equal logits: the lowest experts are taken. All tokens go to the same ones.
TEST(experts, ties) {
  for (size_t experts_count : {4, 5, 40}) {
    Mixture in(kTernaryExpert, {19, 64, 40, experts_count, 3});
    for (size_t i = 0; i < in.router.size(); i++) in.router[i] = i % 64 ? 0 : 0.5f;
    const std::vector<float> y = expected(&in);
    check(&in, y);
    for (size_t i = 3 * 2 * 40 * in.row_bytes; i < in.gate_up.size(); i++) in.gate_up[i] ^= 0x15;
    check(&in, y);  // whatever the others hold
  }
}

// Logits that are no numbers, though the token is finite, give a row of NaN.
TEST(experts, logits) {
  for (float bad : {NAN, INFINITY, 3e38f}) {
    Mixture in(kInt8Expert, {1, 64, 40, 5, 2});
    for (size_t i = 0; i < 64; i++) in.router[2 * 64 + i] = bad, in.x[i] = 1;
    experts(*find_kernels(nullptr), in.op(), in.scratch.data, kBackwards);
    for (size_t j = 0; j < in.y.size(); j++) CHECK(isnan(in.y[j]));
  }
}

TEST(experts, skipped) {
  for (size_t m : {1, 2, 600}) {
    CASE("experts, skipped, m %zu", m);
    Mixture in(kTernaryExpert, {m, 300, 70, 40, 3});
    for (size_t i = 0; i < in.x.size(); i++) in.x[i] = i % 300 ? 0 : 1;
    Count skipped(0);
    Experts op = in.op();
    op.skipped = &skipped;
    experts(*find_kernels(nullptr), op, in.scratch.data, kBackwards);
    CHECK(skipped == 37 * (2 * 70 * in.row_bytes + 300 * in.down_bytes));
  }
}
