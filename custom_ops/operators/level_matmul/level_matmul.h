// y = int16(x) * W^T * scale[n] / act_scale with weights of 4 or 6 bits, without ONNX Runtime.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "platform/pool.h"

namespace bitnet {

struct LevelMatMul {
  int bits;               // 4 or 6
  size_t m, k, n;         // 1 <= k <= kMaxK
  const float* x;         // [m, k]
  const uint8_t* w;       // codes, in blocks: see level_gemv.h
  const uint8_t* levels;  // int8 [n, 8 * blocks]
  const float* scale;     // [n]
  float* y;               // [m, n]; a row of x with a NaN or an infinity gives a row of NaN
};

// Bytes of a row of codes.
size_t level_row_bytes(int bits, size_t k);

// Bytes of scratch, aligned to 64, that level_matmul needs.
size_t level_matmul_scratch(size_t m, size_t k);

void level_matmul(const Kernels& kernels, const LevelMatMul& op, void* scratch, const Pool& pool);

}  // namespace bitnet
