// TwoStepInt4MatMul(X float32 [..., K], W bfloat16 [N, K], codes, levels and scale as of
// Int4MatMul,
//                   bound float32 [N]) -> Y float32 [..., N]
// TwoStepInt6MatMul: the same with codes, levels and scale as of Int6MatMul
#include "onnxruntime/level_inputs.h"
#include "operators/two_step_matmul/two_step_level_matmul.h"

namespace bitnet {
namespace {

enum { kX, kW, kCodes, kLevelsIn, kScale, kBound };

OrtStatus* compute(Call* call) {
  Rows rows;
  Tensor w, bound;
  LevelMatMul scan = {};
  scan.bits = call->spec == &kTwoStepInt4MatMul ? 4 : 6;
  if (OrtStatus* s = inputs_x_plain(*call, &rows, &w)) return s;
  if (OrtStatus* s = level_inputs(*call, kCodes, rows, w.dims[0], &scan)) return s;
  if (OrtStatus* s = input_vector(*call, kBound, w.dims[0], &bound)) return s;
  if (OrtStatus* s = output_rows(*call, 0, rows.x, w.dims[0], &scan.y)) return s;
  const TwoStepLevelMatMul op = {
      .bits = scan.bits,
      .m = scan.m,
      .k = scan.k,
      .n = scan.n,
      .x = scan.x,
      .w = bytes(w),
      .codes = scan.w,
      .levels = scan.levels,
      .scale = scan.scale,
      .bound = floats(bound),
      .y = scan.y,
      .skipped = call->counters ? &call->counters->skipped_head : nullptr};
  if (op.m == 0 || op.n == 0) return nullptr;
  return run_with_scratch(call, two_step_level_matmul_scratch(op.m, op.k), op,
                          two_step_level_matmul);
}

}  // namespace

constexpr InputSpec kInputs[] = {{"X", kFloat32},   {"W", kBfloat16},    {"codes", kUint8},
                                 {"levels", kInt8}, {"scale", kFloat32}, {"bound", kFloat32}};

const OpSpec kTwoStepInt4MatMul = {.name = "TwoStepInt4MatMul",
                                   .inputs = kInputs,
                                   .outputs = kY,
                                   .compute = compute,
                                   .infer = infer_x_w};
const OpSpec kTwoStepInt6MatMul = {.name = "TwoStepInt6MatMul",
                                   .inputs = kInputs,
                                   .outputs = kY,
                                   .compute = compute,
                                   .infer = infer_x_w};

}  // namespace bitnet
