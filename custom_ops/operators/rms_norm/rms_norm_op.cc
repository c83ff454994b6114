// RMSNorm(X float32 [..., K], weight float32 [K], epsilon float32 [1]) -> Y float32 [..., K]
// AddRMSNorm(X and residual float32 [..., K], weight, epsilon) -> Y and sum float32 [..., K]:
//   the norm of sum = X + residual
#include "onnxruntime/products.h"
#include "operators/rms_norm/rms_norm.h"
#include "platform/sizes.h"

namespace bitnet {
namespace {

OrtStatus* compute(Call* call) {
  const bool adds = call->spec == &kAddRmsNorm;
  const size_t last = call->spec->inputs.count - 1;
  Tensor x, residual = {}, weight, epsilon;
  float *y = nullptr, *sum = nullptr;
  if (OrtStatus* s = input(*call, 0, &x)) return s;
  if (x.rank < 1) {
    return fail(call->api, "%s: X is a scalar, expected dimensions [..., K]", call->spec->name);
  }
  if (adds) {
    if (OrtStatus* s = input(*call, 1, &residual)) return s;
    if (!same_shape(residual, x)) return wrong_shape(*call, residual, "that of X");
  }
  const int64_t k = x.dims[x.rank - 1];
  if (OrtStatus* s = input_vector(*call, last - 1, k, &weight)) return s;
  if (OrtStatus* s = input_vector(*call, last, 1, &epsilon)) return s;
  if (OrtStatus* s = output_rows(*call, 0, x, k, &y)) return s;
  if (OrtStatus* s = adds ? output_rows(*call, 1, x, k, &sum) : nullptr) return s;
  const RmsNorm op = {.m = rows_of(x),
                      .k = static_cast<size_t>(k),
                      .x = floats(x),
                      .weight = bytes(weight),
                      .epsilon = load_float(epsilon.data, 0),
                      .y = y,
                      .residual = floats(residual),
                      .sum = sum};
  if (op.m > 0 && op.k > 0) rms_norm(*call->kernels, op, pool_of(call));
  return nullptr;
}

}  // namespace

constexpr InputSpec kInputs[] = {{"X"}, {"weight"}, {"epsilon"}};

const OpSpec kRmsNorm = {.name = "RMSNorm", .inputs = kInputs, .outputs = kY, .compute = compute};

constexpr InputSpec kAddInputs[] = {{"X"}, {"residual"}, {"weight"}, {"epsilon"}};
constexpr OutputSpec kAddOutputs[] = {{"Y"}, {"sum"}};

const OpSpec kAddRmsNorm = {
    .name = "AddRMSNorm", .inputs = kAddInputs, .outputs = kAddOutputs, .compute = compute};

}  // namespace bitnet
