// The codes and levels of weights of 4 or 6 bits as inputs of operators.
#pragma once

#include "onnxruntime/products.h"
#include "operators/level_matmul/level_matmul.h"

namespace bitnet {

// Inputs `index` and the next two: codes uint8 [n, row bytes], levels int8 [n, 8 * blocks] and
// scale [n], of rows of k weights. They are filled in, as are m, k, n and x.
OrtStatus* level_inputs(const Call& call, size_t index, const Rows& rows, int64_t n,
                        LevelMatMul* op);

}  // namespace bitnet
