// Bf16MatMul(X float32 [..., K], W bfloat16 [N, K]) -> Y float32 [..., N]
#include "onnxruntime/products.h"
#include "operators/bf16_matmul/bf16_matmul.h"

namespace bitnet {

static OrtStatus* compute(Call* call) {
  Rows rows;
  Tensor w;
  float* y = nullptr;
  if (OrtStatus* s = inputs_x_plain(*call, &rows, &w)) return s;
  if (OrtStatus* s = output_rows(*call, 0, rows.x, w.dims[0], &y)) return s;
  const Bf16MatMul op = {.m = rows.m,
                         .k = rows.k,
                         .n = static_cast<size_t>(w.dims[0]),
                         .x = floats(rows.x),
                         .w = bytes(w),
                         .y = y};
  if (op.m == 0 || op.n == 0) return nullptr;
  return run_with_scratch(call, bf16_matmul_scratch(op.m, op.k), op, bf16_matmul);
}

constexpr InputSpec kInputs[] = {{"X", kFloat32}, {"W", kBfloat16}};

const OpSpec kBf16MatMul = {
    .name = "Bf16MatMul", .inputs = kInputs, .outputs = kY, .compute = compute, .infer = infer_x_w};

}  // namespace bitnet
