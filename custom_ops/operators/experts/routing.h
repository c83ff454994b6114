// Which experts each token goes to, and the rows that this makes: a token is a row of each of its
// experts.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "platform/pool.h"

namespace bitnet {

constexpr size_t kMaxExperts = 1024;

struct Router {
  size_t m, k;             // tokens and features, 1 <= k <= kMaxK
  size_t experts, chosen;  // 1 <= chosen <= experts <= kMaxExperts
  const float* x;          // [m, k]
  const uint8_t* w;        // float32 [experts, k], at any address
  float* y;                // [m, k]
};

// The rows of expert e are starts[e] to starts[e + 1] - 1.
struct Routing {
  float* logits;    // [m, experts]
  int32_t* picks;   // [m, chosen]: the experts of a token, ascending; -1 for one that has none
  float* weights;   // [m, chosen]: their shares
  int32_t* starts;  // [experts + 1]
  int32_t* tokens;  // [m * chosen], ascending for each expert
  float* shares;    // [m * chosen]
};

// logits[i][e] = x[i] . w[e], as `dot` of rows.h. A token gets the experts of its largest logits,
// the lower one of two that are equal, and as shares the softmax over these: weights and sum of
// attend_softmax, divided in float64. Sets y to 0, and to NaN for a token that gets no expert: one
// of its logits is a NaN, or the largest is infinite.
void route(const Kernels& kernels, const Router& router, const Routing& routing, const Pool& pool);

}  // namespace bitnet
