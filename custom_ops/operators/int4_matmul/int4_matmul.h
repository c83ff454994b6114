// y = int16(x) * W^T * scale[n] / act_scale with weights of 4 or 6 bits, without ONNX Runtime.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "platform/pool.h"

namespace bitnet {

struct Int4MatMul {
  int bits;               // 4 or 6
  size_t m, k, n;         // 1 <= k <= kMaxK
  const float* x;         // [m, k]
  const uint8_t* w;       // codes, in blocks: see int4_gemv.h
  const uint8_t* levels;  // int8 [n, 8 * blocks]
  const float* scale;     // [n]
  float* y;               // [m, n]; a row of x with a NaN or an infinity gives a row of NaN
};

// Bytes of a row of codes.
size_t int4_row_bytes(int bits, size_t k);

// Bytes of scratch, aligned to 64, that int4_matmul needs.
size_t int4_matmul_scratch(size_t m, size_t k);

void int4_matmul(const Kernels& kernels, const Int4MatMul& op, void* scratch, const Pool& pool);

}  // namespace bitnet
