// GatedSilu(gate and up float32 [..., K]) -> Y float32 [..., K]: silu(gate) * up
// GatedGelu: the same with GELU
#include "onnxruntime/products.h"
#include "operators/gated/gated.h"

namespace bitnet {
namespace {

OrtStatus* compute(Call* call) {
  Tensor gate, up;
  float* y = nullptr;
  if (OrtStatus* s = input(*call, 0, &gate)) return s;
  if (OrtStatus* s = input(*call, 1, &up)) return s;
  if (gate.rank < 1) {
    return fail(call->api, "%s: gate is a scalar, expected dimensions [..., K]", call->spec->name);
  }
  if (!same_shape(up, gate)) return wrong_shape(*call, up, "that of gate");
  const int64_t k = gate.dims[gate.rank - 1];
  if (OrtStatus* s = output_rows(*call, 0, gate, k, &y)) return s;
  const size_t count = rows_of(gate) * static_cast<size_t>(k);
  const bool gelu = call->spec == &kGatedGelu;
  if (count == 0) return nullptr;
  gated(*call->kernels, {count, floats(gate), floats(up), y, gelu}, pool_of(call));
  return nullptr;
}

}  // namespace

constexpr InputSpec kInputs[] = {{"gate"}, {"up"}};

const OpSpec kGatedSilu = {
    .name = "GatedSilu", .inputs = kInputs, .outputs = kY, .compute = compute};
const OpSpec kGatedGelu = {
    .name = "GatedGelu", .inputs = kInputs, .outputs = kY, .compute = compute};

}  // namespace bitnet
