#include "operators/experts/routing.h"

#include <math.h>
#include <string.h>

#include "platform/sizes.h"

namespace bitnet {
namespace {

constexpr size_t kRouterBytes = 64 * 1024;  // of the router's weights that are worth a task
constexpr size_t kTokens = 16;              // whose choices are worth a task

void multiply(const Kernels& kernels, const Router& router, float* logits, const Pool& pool) {
  const size_t row_bytes = router.k * sizeof(float), each = kRouterBytes / row_bytes + 1;
  const size_t across = parts(router.experts, each);
  parallel(pool, router.m * across, [&](size_t task) {
    const size_t i = task / across, e0 = task % across * each;
    for (size_t e = e0; e < smaller(e0 + each, router.experts); e++) {
      logits[i * router.experts + e] =
          kernels.dot(router.k, router.x + i * router.k, router.w + e * row_bytes);
    }
  });
}

// Returns false where a logit is a NaN.
bool mark_largest(const float* logits, size_t experts, size_t chosen, bool* marked) {
  for (size_t e = 0; e < experts; e++) {
    if (isnan(logits[e])) return false;
    marked[e] = false;
  }
  for (size_t i = 0; i < chosen; i++) {
    size_t best = experts;
    for (size_t e = 0; e < experts; e++) {
      if (!marked[e] && (best == experts || logits[e] > logits[best])) best = e;
    }
    marked[best] = true;
  }
  return true;
}

// Returns false where the token gets no expert.
bool choose(const Kernels& kernels, const Router& router, const float* logits, int32_t* picks,
            float* weights) {
  bool marked[kMaxExperts];
  float scores[kMaxExperts];
  double exponentials[kMaxExperts];
  if (!mark_largest(logits, router.experts, router.chosen, marked)) return false;
  size_t count = 0;
  for (size_t e = 0; e < router.experts; e++) {
    if (!marked[e]) continue;
    picks[count] = static_cast<int32_t>(e);
    scores[count++] = logits[e];
  }
  const double total = kernels.attend_softmax(count, scores, exponentials);
  kernels.divide_reals(count, exponentials, total, weights);
  return !isnan(total);
}

// A counting sort by expert.
void sort(const Router& router, const Routing& r) {
  const size_t count = router.m * router.chosen;
  memset(r.starts, 0, (router.experts + 1) * sizeof(int32_t));
  for (size_t i = 0; i < count; i++) {
    if (r.picks[i] >= 0) r.starts[r.picks[i] + 1]++;
  }
  for (size_t e = 0; e < router.experts; e++) r.starts[e + 1] += r.starts[e];
  for (size_t i = 0; i < count; i++) {
    if (r.picks[i] < 0) continue;
    const int32_t row = r.starts[r.picks[i]]++;
    r.tokens[row] = static_cast<int32_t>(i / router.chosen);
    r.shares[row] = r.weights[i];
  }
  memmove(r.starts + 1, r.starts, router.experts * sizeof(int32_t));  // each was moved to its end
  r.starts[0] = 0;
}

}  // namespace

void route(const Kernels& kernels, const Router& router, const Routing& routing, const Pool& pool) {
  multiply(kernels, router, routing.logits, pool);
  parallel(pool, parts(router.m, kTokens), [&](size_t task) {
    for (size_t i = task * kTokens; i < smaller(router.m, (task + 1) * kTokens); i++) {
      int32_t* picks = routing.picks + i * router.chosen;
      float* y = router.y + i * router.k;
      if (choose(kernels, router, routing.logits + i * router.experts, picks,
                 routing.weights + i * router.chosen)) {
        memset(y, 0, router.k * sizeof(float));
      } else {
        for (size_t j = 0; j < router.chosen; j++) picks[j] = -1;
        for (size_t j = 0; j < router.k; j++) y[j] = NAN;
      }
    }
  });
  sort(router, routing);
}

}  // namespace bitnet
