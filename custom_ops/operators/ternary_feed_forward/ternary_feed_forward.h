// The feed-forward of BitNet, y = down(norm(relu(gate(x))^2 * up(x))), without ONNX Runtime. down
// is stored by column.
#pragma once

#include "kernels/kernels.h"
#include "platform/count.h"
#include "platform/pool.h"

namespace bitnet {

struct TernaryFeedForward {
  size_t m, k, n, width;      // 1 <= k, n <= kMaxK
  const float* x;             // [m, k]
  const uint8_t *gate, *up;   // [n, 64 * ceil(k / 256)], packed
  const uint8_t* gate_scale;  // float32 [1], at any address, as all that follow
  const uint8_t* up_scale;    // float32 [1]
  const uint8_t* norm;        // float32 [n]
  float epsilon;
  const uint8_t* down;        // [n, 64 * ceil(width / 256)], packed by column
  const uint8_t* down_scale;  // float32 [width]
  float* y;                   // [m, width]
  float* normed;              // [m, n], or null: what down is multiplied with
  // Get the bytes of up and of down that are not read, if not null.
  Count *skipped_rows, *skipped_columns;
};

// Bytes of scratch, aligned to 64, that ternary_feed_forward needs.
size_t ternary_feed_forward_scratch(const TernaryFeedForward& op);

void ternary_feed_forward(const Kernels& kernels, const TernaryFeedForward& op, void* scratch,
                          const Pool& pool);

}  // namespace bitnet
