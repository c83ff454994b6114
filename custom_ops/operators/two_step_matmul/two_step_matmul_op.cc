// TwoStepMatMul(X float32 [..., K], W bfloat16 [N, K], scan int8 [N, K], scale float32 [N],
//               bound float32 [N]) -> Y float32 [..., N]
#include "onnxruntime/ort.h"
#include "operators/two_step_matmul/two_step_matmul.h"

namespace bitnet {

static OrtStatus* compute(Call* call) {
  const OpSpec& spec = kTwoStepMatMul;
  Tensor x, w, scan, scale, bound;
  size_t m = 0, k = 0;
  if (OrtStatus* s = inputs_x_w(*call, spec, &x, &w, &m, &k)) return s;
  if (w.dims[1] != static_cast<int64_t>(k)) {
    return fail(call->api, "%s: W has %lld columns, expected K = %zu", spec.name,
                static_cast<long long>(w.dims[1]), k);
  }
  if (OrtStatus* s = input(*call, spec, 2, &scan)) return s;
  if (scan.rank != 2 || scan.dims[0] != w.dims[0] || scan.dims[1] != w.dims[1]) {
    return fail(call->api,
                "%s: scan has %zu dimensions and %lld elements, expected W's [%lld, %zu]",
                spec.name, scan.rank, static_cast<long long>(elements(scan)),
                static_cast<long long>(w.dims[0]), k);
  }
  if (OrtStatus* s = input_vector(*call, spec, 3, w.dims[0], &scale)) return s;
  if (OrtStatus* s = input_vector(*call, spec, 4, w.dims[0], &bound)) return s;
  float* y = nullptr;
  if (OrtStatus* s = output(*call, x, w.dims[0], &y)) return s;
  const size_t n = static_cast<size_t>(w.dims[0]);
  if (m == 0 || n == 0) return nullptr;
  Scratch scratch(two_step_matmul_scratch(m, k));
  if (!scratch.data) return fail(call->api, "%s: out of memory", spec.name);
  two_step_matmul(*call->kernels,
                  {m, k, n, static_cast<const float*>(x.data), static_cast<const uint8_t*>(w.data),
                   static_cast<const uint8_t*>(scan.data), static_cast<const float*>(scale.data),
                   static_cast<const float*>(bound.data), y},
                  scratch.data, pool_of(call));
  return nullptr;
}

const OpSpec kTwoStepMatMul = {"TwoStepMatMul",
                               5,
                               {{"X", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                {"W", ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16},
                                {"scan", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8},
                                {"scale", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                {"bound", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}},
                               1,
                               compute,
                               infer_x_w};

}  // namespace bitnet
