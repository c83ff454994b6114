// TernaryMatMul(X float32 [..., K], W uint8 [N, 64 * ceil(K / 256)], scale float32 [1] or [N])
//   -> Y float32 [..., N]
// TernaryNormMatMul(X, W, scale, norm float32 [K], epsilon float32 [1])
//   -> Y, normed float32 [..., K], optional: the norm of X, which W is multiplied with
#include "onnxruntime/products.h"
#include "operators/ternary_matmul/ternary_norm_matmul.h"
#include "platform/sizes.h"

namespace bitnet {
namespace {

enum { kX, kW, kScale, kNorm, kEpsilon };

// Inputs X, W and scale, and output Y.
OrtStatus* prepare(const Call& call, Rows* rows, TernaryMatMul* op) {
  Tensor w, scale;
  float* y = nullptr;
  if (OrtStatus* s = inputs_x_packed(call, rows, &w)) return s;
  if (OrtStatus* s = input(call, kScale, &scale)) return s;
  if (scale.rank != 1 || (scale.dims[0] != 1 && scale.dims[0] != w.dims[0])) {
    int64_t elements = 1;
    for (size_t i = 0; i < scale.rank; i++) elements *= scale.dims[i];
    return fail(
        call.api,
        "%s: scale has %zu dimensions and %lld elements, expected shape [1] or [N], N = %lld",
        call.spec->name, scale.rank, static_cast<long long>(elements),
        static_cast<long long>(w.dims[0]));
  }
  if (OrtStatus* s = output_rows(call, 0, rows->x, w.dims[0], &y)) return s;
  *op = {.m = rows->m,
         .k = rows->k,
         .n = static_cast<size_t>(w.dims[0]),
         .x = floats(rows->x),
         .w = bytes(w),
         .scales = bytes(scale),
         .row_scales = scale.dims[0] != 1,
         .y = y};
  return nullptr;
}

OrtStatus* compute(Call* call) {
  Rows rows;
  TernaryMatMul op;
  if (OrtStatus* s = prepare(*call, &rows, &op)) return s;
  if (op.m == 0 || op.n == 0) return nullptr;
  return run_with_scratch(call, ternary_matmul_scratch(op.m, op.k), op, ternary_matmul);
}

OrtStatus* compute_normed(Call* call) {
  Rows rows;
  Tensor norm, epsilon;
  TernaryNormMatMul op;
  if (OrtStatus* s = prepare(*call, &rows, &op.matmul)) return s;
  const int64_t k = static_cast<int64_t>(rows.k);
  if (OrtStatus* s = input_vector(*call, kNorm, k, &norm)) return s;
  if (OrtStatus* s = input_vector(*call, kEpsilon, 1, &epsilon)) return s;
  if (OrtStatus* s = optional_output_rows(*call, 1, rows.x, k, &op.normed)) return s;
  op.norm = bytes(norm);
  op.epsilon = load_float(epsilon.data, 0);
  if (rows.m == 0 || (op.matmul.n == 0 && !op.normed)) return nullptr;
  return run_with_scratch(call, ternary_norm_matmul_scratch(op), op, ternary_norm_matmul);
}

}  // namespace

constexpr InputSpec kInputs[] = {{"X", kFloat32}, {"W", kUint8}, {"scale", kFloat32}};

const OpSpec kTernaryMatMul = {.name = "TernaryMatMul",
                               .inputs = kInputs,
                               .outputs = kY,
                               .compute = compute,
                               .infer = infer_x_w};

constexpr InputSpec kNormInputs[] = {
    {"X", kFloat32}, {"W", kUint8}, {"scale", kFloat32}, {"norm", kFloat32}, {"epsilon", kFloat32}};
constexpr OutputSpec kNormOutputs[] = {{"Y"}, {.name = "normed", .optional = true}};

const OpSpec kTernaryNormMatMul = {.name = "TernaryNormMatMul",
                                   .inputs = kNormInputs,
                                   .outputs = kNormOutputs,
                                   .compute = compute_normed};

}  // namespace bitnet
