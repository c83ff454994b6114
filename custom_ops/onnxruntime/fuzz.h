// What the fuzz feeds: the shapes of the inputs of each operator, and sizes that nobody should
// pass.
#pragma once

#include <vector>

#include "testing/check.h"

namespace {

// What shapes are made of. Arithmetic may wrap, as a caller's might.
struct Sizes {
  uint64_t a = 1, b = 1;         // rows of activations: a * b
  uint64_t k = 1, n = 1, m = 1;  // of matrices
  uint64_t batch = 1, count = 1, kv_heads = 1, group = 1, half = 1;
  uint64_t past = 1, positions = 1;  // of caches and of the tables
  uint64_t* all[12] = {&a,     &b,        &k,     &n,    &m,    &batch,
                       &count, &kv_heads, &group, &half, &past, &positions};
  Sizes() = default;
  Sizes(const Sizes&) = delete;

  uint64_t d() const { return 2 * half; }
  uint64_t packed_k() const { return (k + 255) / 256 * 64; }
  uint64_t packed_m() const { return (m + 255) / 256 * 64; }
};

using Dims = std::vector<uint64_t>;
using Shape = Dims (*)(const Sizes& s);

Dims x(const Sizes& s) { return {s.a, s.b, s.k}; }
Dims packed(const Sizes& s) { return {s.n, s.packed_k()}; }
Dims plain(const Sizes& s) { return {s.n, s.k}; }
Dims codes4(const Sizes& s) { return {s.n, 2 * s.packed_k()}; }
Dims codes6(const Sizes& s) { return {s.n, 3 * s.packed_k()}; }
Dims levels(const Sizes& s) { return {s.n, s.packed_k() / 8}; }
Dims one(const Sizes&) { return {1}; }
Dims of_k(const Sizes& s) { return {s.k}; }
Dims of_n(const Sizes& s) { return {s.n}; }
Dims of_m(const Sizes& s) { return {s.m}; }
Dims groups(const Sizes& s) { return {s.n, s.k / 128}; }
Dims down(const Sizes& s) { return {s.n, s.packed_m()}; }
Dims query(const Sizes& s) { return {s.batch, s.count, s.kv_heads * s.group * s.d()}; }
Dims key(const Sizes& s) { return {s.batch, s.count, s.kv_heads * s.d()}; }
Dims qkv(const Sizes& s) { return {s.batch, s.count, s.kv_heads * (s.group + 2) * s.d()}; }
Dims past(const Sizes& s) { return {s.batch, s.kv_heads, s.past, s.d()}; }
Dims packed_past(const Sizes& s) { return {s.batch, s.kv_heads, s.past, (s.d() + 31) / 32 * 17}; }
Dims past_scale(const Sizes& s) { return {s.batch, s.kv_heads, s.past}; }
Dims of_batch(const Sizes& s) { return {s.batch}; }
Dims scalar(const Sizes&) { return {}; }
// The mixtures of experts: `batch` experts, n inner features.
Dims router(const Sizes& s) { return {s.batch, s.k}; }
Dims gate_up_packed(const Sizes& s) { return {s.batch, 2 * s.n, s.packed_k()}; }
Dims gate_up_plain(const Sizes& s) { return {s.batch, 2 * s.n, s.k}; }
Dims two_each(const Sizes& s) { return {s.batch, 2}; }
Dims gate_up_rows(const Sizes& s) { return {s.batch, 2 * s.n}; }
Dims down_packed(const Sizes& s) { return {s.batch, s.k, (s.n + 255) / 256 * 64}; }
Dims down_plain(const Sizes& s) { return {s.batch, s.k, s.n}; }
Dims each_expert(const Sizes& s) { return {s.batch}; }
Dims table(const Sizes& s) { return {s.positions, s.half}; }

struct Operator {
  const char* name;
  std::vector<Shape> inputs;
  int64_t k = 1;  // the attribute of a mixture
};

const Operator kOperators[] = {
    {"TernaryMatMul", {x, packed, one}},
    {"TernaryMatMul", {x, packed, of_n}},
    {"TernaryNormMatMul", {x, packed, of_n, of_k, one}},
    {"TernaryFeedForward", {x, packed, packed, one, one, of_n, one, down, of_m}},
    {"TernaryGroupMatMul", {x, packed, groups}},
    {"TernaryFloatMatMul", {x, packed, groups}},
    {"Bf16MatMul", {x, plain}},
    {"Int8MatMul", {x, plain, of_n}},
    {"Int6MatMul", {x, codes6, levels, of_n}},
    {"Int4MatMul", {x, codes4, levels, of_n}},
    {"TwoStepMatMul", {x, plain, plain, of_n, of_n}},
    {"TwoStepInt6MatMul", {x, plain, codes6, levels, of_n, of_n}},
    {"TwoStepInt4MatMul", {x, plain, codes4, levels, of_n, of_n}},
    {"RMSNorm", {x, of_k, one}},
    {"GatedSilu", {x, x}},
    {"GatedGelu", {x, x}},
    {"TernaryExperts", {x, router, gate_up_packed, two_each, down_packed, each_expert}},
    {"TernaryExperts", {x, router, gate_up_packed, two_each, down_packed, each_expert}, 3},
    {"Bf16Experts", {x, router, gate_up_plain, down_plain}},
    {"Int8Experts", {x, router, gate_up_plain, gate_up_rows, down_plain, router}},
    {"AddRMSNorm", {x, x, of_k, one}},
    {"GroupQueryAttention", {query, key, key, past, past, of_batch, scalar, table, table}},
    {"GroupQueryAttentionF16", {query, key, key, past, past, of_batch, scalar, table, table}},
    {"GroupQueryAttentionInt8",
     {query, key, key, past, past, of_batch, scalar, table, table, past_scale, past_scale}},
    {"GroupQueryAttentionInt4",
     {query, key, key, packed_past, packed_past, of_batch, scalar, table, table, past_scale,
      past_scale}},
    {"GroupQueryAttentionQKV", {qkv, past, past, of_batch, scalar, table, table}},
    {"GroupQueryAttentionF16QKV", {qkv, past, past, of_batch, scalar, table, table}},
    {"GroupQueryAttentionInt8QKV",
     {qkv, past, past, of_batch, scalar, table, table, past_scale, past_scale}},
    {"GroupQueryAttentionInt4QKV",
     {qkv, packed_past, packed_past, of_batch, scalar, table, table, past_scale, past_scale}},
};
constexpr size_t kOperatorCount = sizeof kOperators / sizeof kOperators[0];

int64_t odd_size(Random* random) {
  constexpr int64_t kOdd[] = {-1,        0,         1,         2,
                              3,         63,        64,        65,
                              127,       128,       129,       255,
                              256,       257,       512,       513,
                              131071,    131072,    131073,    INT32_MAX,
                              1ll << 31, 1ll << 32, 1ll << 33, (1ll << 32) + 1,
                              1ll << 40, 1ll << 46, 1ll << 47, (1ll << 47) + 1,
                              1ll << 48, 1ll << 61, 1ll << 62, INT64_MAX,
                              INT64_MIN, -256};
  return kOdd[random->below(sizeof kOdd / sizeof kOdd[0])];
}

int32_t odd_index(Random* random) {
  constexpr int32_t kOdd[] = {INT32_MIN, -2, -1, 0, 1, 2, 3, 100, 1 << 20, INT32_MAX};
  return kOdd[random->below(sizeof kOdd / sizeof kOdd[0])];
}

void choose(Sizes* s, Random* random) {
  s->a = random->below(3);
  s->b = 1 + random->below(random->below(4) ? 3 : 9);
  s->k = 128 * (1 + random->below(4));  // also of whole groups
  if (random->below(3) == 0) s->k = 1 + random->below(300);
  s->n = 1 + random->below(70);
  s->m = random->below(300);
  s->batch = 1 + random->below(3);
  s->count = 1 + random->below(4);
  s->kv_heads = 1 + random->below(3);
  s->group = 1 + random->below(6);
  s->half = 1 + random->below(20);
  s->past = random->below(80);
  s->positions = s->past + s->count + random->below(4);
}

}  // namespace
