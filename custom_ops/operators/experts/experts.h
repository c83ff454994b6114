// A mixture of experts, y = sum over the chosen experts e of share_e * down_e(silu(gate_e(x)) *
// up_e(x)), without ONNX Runtime. The rows of gate come before those of up. With a limit, gate is
// at most that, and up within -limit and limit, before silu. Each product is that of a linear; its
// results are float32. The sum starts from 0, the lowest expert comes first, and each product and
// sum rounds.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "operators/experts/routing.h"
#include "platform/count.h"
#include "platform/pool.h"

namespace bitnet {

// Activation rows as a product takes them.
struct ExpertRows {
  size_t k, stride;  // features; bytes from row to row
  char* q;
  float* scales;
  int32_t* sums;
};

// How experts multiply: the formulas are those of ternary_matmul, bf16_matmul and int8_matmul.
struct ExpertKind {
  size_t pad, item;  // elements that a row of activations is a multiple of; bytes of one
  bool row_scales;   // a scale for each row of weights; or one for gate, one for up, one for down
  size_t (*row_bytes)(size_t k);
  void (*prepare)(const Kernels& kernels, const float* x, size_t padded, size_t row,
                  const ExpertRows& rows);
  // y[i * stride + n] for i < m, n < count; m * count is at most kExpertSums, but for ternary
  void (*multiply)(const Kernels& kernels, size_t m, size_t count, const ExpertRows& rows,
                   const uint8_t* w, const uint8_t* scales, float* y, size_t stride);
};
extern const ExpertKind kTernaryExpert, kBf16Expert, kInt8Expert;

constexpr size_t kExpertSums = 8192;
constexpr size_t kExpertTall = 256;  // rows of one expert that are multiplied at a time

struct Experts {
  const ExpertKind* kind;
  size_t m, k, inner;                // tokens, features, and those inside an expert: 1 to kMaxK
  size_t experts, chosen;            // 1 <= chosen <= experts <= kMaxExperts
  const float* x = nullptr;          // [m, k]
  const uint8_t* router = nullptr;   // float32 [experts, k], at any address, as the scales
  const uint8_t* gate_up = nullptr;  // [experts, 2 * inner, row_bytes(k)]
  const uint8_t* gate_up_scale = nullptr;  // float32 [experts, 2], [experts, 2 * inner], or null
  const uint8_t* down = nullptr;           // [experts, k, row_bytes(inner)]
  const uint8_t* down_scale = nullptr;     // float32 [experts], [experts, k], or null
  float limit = 0;                         // 0: none
  float* y = nullptr;        // [m, k]; a row of x with a NaN or an infinity gives a row of NaN
  Count* skipped = nullptr;  // gets the bytes of the experts that no token goes to, if not null
};

// Bytes of scratch, aligned to 64, that experts needs.
size_t experts_scratch(const Experts& op);

void experts(const Kernels& kernels, const Experts& op, void* scratch, const Pool& pool);

}  // namespace bitnet
