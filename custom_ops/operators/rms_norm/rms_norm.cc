#include "operators/rms_norm/rms_norm.h"

#include "platform/sizes.h"

namespace bitnet {
namespace {

constexpr size_t kTaskElements = 4096;  // that are worth a task, some 3 us

}  // namespace

void rms_norm(const Kernels& kernels, const RmsNorm& op, const Pool& pool) {
  const size_t rows = kTaskElements / op.k + 1;
  parallel(pool, parts(op.m, rows), [&](size_t task) {
    for (size_t row = task * rows; row < op.m && row < (task + 1) * rows; row++) {
      const size_t at = row * op.k;
      kernels.rms_norm(op.k, op.x + at, op.residual ? op.residual + at : nullptr,
                       op.sum ? op.sum + at : nullptr, op.weight, op.epsilon, op.y + at);
    }
  });
}

}  // namespace bitnet
