// Int8MatMul(X float32 [..., K], W int8 [N, K], scale float32 [N]) -> Y float32 [..., N]
#include "onnxruntime/products.h"
#include "operators/int8_matmul/int8_matmul.h"

namespace bitnet {

static OrtStatus* compute(Call* call) {
  Rows rows;
  Tensor w, scale;
  float* y = nullptr;
  if (OrtStatus* s = inputs_x_plain(*call, &rows, &w)) return s;
  if (OrtStatus* s = input_vector(*call, 2, w.dims[0], &scale)) return s;
  if (OrtStatus* s = output_rows(*call, 0, rows.x, w.dims[0], &y)) return s;
  const Int8MatMul op = {.m = rows.m,
                         .k = rows.k,
                         .n = static_cast<size_t>(w.dims[0]),
                         .x = floats(rows.x),
                         .w = bytes(w),
                         .scale = floats(scale),
                         .y = y};
  if (op.m == 0 || op.n == 0) return nullptr;
  return run_with_scratch(call, int8_matmul_scratch(op.m, op.k), op, int8_matmul);
}

constexpr InputSpec kInputs[] = {{"X", kFloat32}, {"W", kInt8}, {"scale", kFloat32}};

const OpSpec kInt8MatMul = {
    .name = "Int8MatMul", .inputs = kInputs, .outputs = kY, .compute = compute, .infer = infer_x_w};

}  // namespace bitnet
