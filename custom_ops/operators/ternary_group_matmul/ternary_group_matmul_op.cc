// TernaryGroupMatMul, TernaryFloatMatMul(X float32 [..., K], W uint8 [N, 64 * ceil(K / 256)],
//   scale float32 [N, K / 128]) -> Y float32 [..., N]
#include "onnxruntime/products.h"
#include "operators/ternary_group_matmul/ternary_group_matmul.h"

namespace bitnet {
namespace {

OrtStatus* check_shapes(const Call& call, const Tensor& w, const Tensor& scale, size_t k) {
  const char* name = call.spec->name;
  if (k % kGroupK != 0) {
    return fail(call.api, "%s: X has %zu columns (K), expected a multiple of %zu", name, k,
                kGroupK);
  }
  const size_t groups = k / kGroupK;
  if (scale.rank != 2) {
    return fail(call.api, "%s: scale has %zu dimensions, expected 2", name, scale.rank);
  }
  if (scale.dims[0] != w.dims[0] || scale.dims[1] != static_cast<int64_t>(groups)) {
    return fail(call.api, "%s: scale has shape [%lld, %lld], expected [%lld, %zu] (N, K / 128)",
                name, static_cast<long long>(scale.dims[0]), static_cast<long long>(scale.dims[1]),
                static_cast<long long>(w.dims[0]), groups);
  }
  return nullptr;
}

template <auto scratch_bytes, auto matmul>
OrtStatus* compute(Call* call) {
  Rows rows;
  Tensor w, scale;
  float* y = nullptr;
  if (OrtStatus* s = inputs_x_packed(*call, &rows, &w)) return s;
  if (OrtStatus* s = input(*call, 2, &scale)) return s;
  if (OrtStatus* s = check_shapes(*call, w, scale, rows.k)) return s;
  if (OrtStatus* s = output_rows(*call, 0, rows.x, w.dims[0], &y)) return s;
  const TernaryGroupMatMul op = {.m = rows.m,
                                 .k = rows.k,
                                 .n = static_cast<size_t>(w.dims[0]),
                                 .x = floats(rows.x),
                                 .w = bytes(w),
                                 .scale = floats(scale),
                                 .y = y};
  if (op.m == 0 || op.n == 0) return nullptr;
  return run_with_scratch(call, scratch_bytes(op.m, op.k), op, matmul);
}

}  // namespace

constexpr InputSpec kInputs[] = {{"X", kFloat32}, {"W", kUint8}, {"scale", kFloat32}};

const OpSpec kTernaryGroupMatMul = {
    .name = "TernaryGroupMatMul",
    .inputs = kInputs,
    .outputs = kY,
    .compute = compute<ternary_group_matmul_scratch, ternary_group_matmul>,
    .infer = infer_x_w};

const OpSpec kTernaryFloatMatMul = {
    .name = "TernaryFloatMatMul",
    .inputs = kInputs,
    .outputs = kY,
    .compute = compute<ternary_float_matmul_scratch, ternary_float_matmul>,
    .infer = infer_x_w};

}  // namespace bitnet
