// TwoStepMatMul(X float32 [..., K], W bfloat16 [N, K], scan int8 [N, K], scale float32 [N],
//               bound float32 [N]) -> Y float32 [..., N]
#include "onnxruntime/products.h"
#include "operators/two_step_matmul/two_step_matmul.h"

namespace bitnet {
namespace {

enum { kX, kW, kScan, kScale, kBound };

OrtStatus* check_scan(const Call& call, const Tensor& w, const Tensor& scan) {
  if (same_shape(scan, w)) return nullptr;
  int64_t elements = 1;
  for (size_t i = 0; i < scan.rank; i++) elements *= scan.dims[i];
  return fail(call.api, "%s: scan has %zu dimensions and %lld elements, expected W's [%lld, %lld]",
              call.spec->name, scan.rank, static_cast<long long>(elements),
              static_cast<long long>(w.dims[0]), static_cast<long long>(w.dims[1]));
}

OrtStatus* compute(Call* call) {
  Rows rows;
  Tensor w, scan, scale, bound;
  float* y = nullptr;
  if (OrtStatus* s = inputs_x_plain(*call, &rows, &w)) return s;
  if (OrtStatus* s = input(*call, kScan, &scan)) return s;
  if (OrtStatus* s = check_scan(*call, w, scan)) return s;
  if (OrtStatus* s = input_vector(*call, kScale, w.dims[0], &scale)) return s;
  if (OrtStatus* s = input_vector(*call, kBound, w.dims[0], &bound)) return s;
  if (OrtStatus* s = output_rows(*call, 0, rows.x, w.dims[0], &y)) return s;
  const TwoStepMatMul op = {.m = rows.m,
                            .k = rows.k,
                            .n = static_cast<size_t>(w.dims[0]),
                            .x = floats(rows.x),
                            .w = bytes(w),
                            .scan = bytes(scan),
                            .scale = floats(scale),
                            .bound = floats(bound),
                            .y = y,
                            .skipped = call->counters ? &call->counters->skipped_head : nullptr};
  if (op.m == 0 || op.n == 0) return nullptr;
  return run_with_scratch(call, two_step_matmul_scratch(op.m, op.k), op, two_step_matmul);
}

}  // namespace

constexpr InputSpec kInputs[] = {
    {"X", kFloat32}, {"W", kBfloat16}, {"scan", kInt8}, {"scale", kFloat32}, {"bound", kFloat32}};

const OpSpec kTwoStepMatMul = {.name = "TwoStepMatMul",
                               .inputs = kInputs,
                               .outputs = kY,
                               .compute = compute,
                               .infer = infer_x_w};

}  // namespace bitnet
