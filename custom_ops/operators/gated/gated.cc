#include "operators/gated/gated.h"

#include <string.h>

#include "platform/sizes.h"

namespace bitnet {
namespace {

constexpr size_t kTaskElements = 8192;  // that are worth a task, some 10 us, and stay in the cache

}  // namespace

void gated(const Kernels& kernels, const Gated& op, const Pool& pool) {
  const auto kernel = op.gelu ? kernels.gelu : kernels.silu;
  parallel(pool, parts(op.count, kTaskElements), [&](size_t task) {
    const size_t at = task * kTaskElements, left = op.count - at;
    const size_t count = left < kTaskElements ? left : kTaskElements;
    memcpy(op.y + at, op.gate + at, count * sizeof(float));
    kernel(count, op.up + at, op.y + at);
  });
}

}  // namespace bitnet
