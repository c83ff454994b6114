// TernaryGatedMatMul(X float32 [..., K], gate uint8 [N, 64 * ceil(K / 256)], up like gate,
//   gate_scale float32 [1], up_scale float32 [1]) -> Y float32 [..., N]
#include "ort.h"
#include "ternary_gated_matmul.h"

namespace bitnet {
namespace {

enum { kX, kGate, kUp, kGateScale, kUpScale };

OrtStatus* compute(Call* call) {
  const OpSpec& spec = kTernaryGatedMatMul;
  Tensor x, gate, up, scales[2];
  size_t m = 0, k = 0;
  if (OrtStatus* s = inputs_x_packed(*call, spec, &x, &gate, &m, &k)) return s;
  if (OrtStatus* s = input(*call, spec, kUp, &up)) return s;
  if (up.rank != 2 || up.dims[0] != gate.dims[0] || up.dims[1] != gate.dims[1]) {
    return fail(call->api, "%s: up has another shape than gate, [%lld, %lld]", spec.name,
                static_cast<long long>(gate.dims[0]), static_cast<long long>(gate.dims[1]));
  }
  for (size_t i = 0; i < 2; i++) {
    if (OrtStatus* s = input_vector(*call, spec, kGateScale + i, 1, &scales[i])) return s;
  }
  float* y = nullptr;
  if (OrtStatus* s = output(*call, x, gate.dims[0], &y)) return s;
  const size_t n = static_cast<size_t>(gate.dims[0]);
  if (m == 0 || n == 0) return nullptr;
  Scratch scratch(ternary_gated_matmul_scratch(m, k, n));
  if (!scratch.data) return fail(call->api, "%s: out of memory", spec.name);
  ternary_gated_matmul(
      *call->kernel,
      {m, k, n, static_cast<const float*>(x.data), static_cast<const uint8_t*>(gate.data),
       static_cast<const uint8_t*>(up.data), static_cast<const uint8_t*>(scales[0].data),
       static_cast<const uint8_t*>(scales[1].data), y},
      scratch.data, pool_of(call));
  return nullptr;
}

}  // namespace

const OpSpec kTernaryGatedMatMul = {"TernaryGatedMatMul",
                                    5,
                                    {{"X", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                     {"gate", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
                                     {"up", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
                                     {"gate_scale", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                     {"up_scale", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}},
                                    1,
                                    compute,
                                    infer_x_w};

}  // namespace bitnet
