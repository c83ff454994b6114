// Shared by the operators that multiply X [..., K] by a matrix.
#pragma once

#include "onnxruntime/ort.h"

namespace bitnet {

// The outputs of most operators.
constexpr OutputSpec kY[] = {{"Y"}};

// X; m is the product of its dimensions before K, and K is 1 to kMaxK.
struct Rows {
  Tensor x;
  size_t m, k;
};

// Inputs 0 and 1: X and w of rank 2.
OrtStatus* inputs_x_w(const Call& call, Rows* rows, Tensor* w);
// The same, and w has K columns.
OrtStatus* inputs_x_plain(const Call& call, Rows* rows, Tensor* w);
// The same, and w is packed: it has 64 * ceil(K / 256) columns.
OrtStatus* inputs_x_packed(const Call& call, Rows* rows, Tensor* w);

// Output `index` with X's dimensions, the last one replaced by n.
OrtStatus* output_rows(const Call& call, size_t index, const Tensor& x, int64_t n, float** y);
OrtStatus* optional_output_rows(const Call& call, size_t index, const Tensor& x, int64_t n,
                                float** y);
// Infers the shape of output 0.
OrtStatus* infer_x_w(const OrtApi* api, OrtShapeInferContext* context);

}  // namespace bitnet
