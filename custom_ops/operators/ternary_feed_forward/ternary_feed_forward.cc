#include "operators/ternary_feed_forward/ternary_feed_forward.h"

#include "operators/rms_norm/rms_norm.h"
#include "operators/ternary_feed_forward/ternary_column_matmul.h"
#include "operators/ternary_feed_forward/ternary_gated_matmul.h"
#include "platform/sizes.h"

namespace bitnet {

// Scratch: the product of gate and up, and what each step needs.
static size_t product_bytes(const TernaryFeedForward& op) {
  return padded(op.m * op.n * sizeof(float), 64);
}

size_t ternary_feed_forward_scratch(const TernaryFeedForward& op) {
  return product_bytes(op) + larger(ternary_gated_matmul_scratch(op.m, op.k),
                                    ternary_column_matmul_scratch(op.m, op.n, op.width));
}

void ternary_feed_forward(const Kernels& kernels, const TernaryFeedForward& op, void* scratch,
                          const Pool& pool) {
  char* free = static_cast<char*>(scratch);
  float* product = reinterpret_cast<float*>(free);
  free += product_bytes(op);
  float* normed = op.normed ? op.normed : product;
  ternary_gated_matmul(kernels,
                       {.m = op.m,
                        .k = op.k,
                        .n = op.n,
                        .x = op.x,
                        .gate = op.gate,
                        .up = op.up,
                        .gate_scale = op.gate_scale,
                        .up_scale = op.up_scale,
                        .y = product,
                        .skipped = op.skipped_rows},
                       free, pool);
  rms_norm(
      kernels,
      {.m = op.m, .k = op.n, .x = product, .weight = op.norm, .epsilon = op.epsilon, .y = normed},
      pool);
  ternary_column_matmul(kernels,
                        {.m = op.m,
                         .k = op.n,
                         .n = op.width,
                         .x = normed,
                         .w = op.down,
                         .scales = op.down_scale,
                         .y = op.y,
                         .skipped = op.skipped_columns},
                        free, pool);
}

}  // namespace bitnet
