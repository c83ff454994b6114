// RMSNorm(X float32 [..., K], weight float32 [K], epsilon float32 [1]) -> Y float32 [..., K]
// AddRMSNorm(X and residual float32 [..., K], weight, epsilon) -> Y and sum float32 [..., K]:
//   the norm of sum = X + residual
#include "onnxruntime/ort.h"
#include "operators/rms_norm/rms_norm.h"
#include "platform/sizes.h"

namespace bitnet {

static OrtStatus* compute(Call* call) {
  const OpSpec& spec = *call->spec;
  const bool adds = spec.outputs == 2;
  Tensor x, residual = {}, weight, epsilon;
  if (OrtStatus* s = input(*call, spec, 0, &x)) return s;
  if (x.rank < 1) {
    return fail(call->api, "%s: X is a scalar, expected dimensions [..., K]", spec.name);
  }
  if (adds) {
    if (OrtStatus* s = input(*call, spec, 1, &residual)) return s;
    if (!same_shape(residual, x)) return wrong_shape(*call, residual, "that of X");
  }
  const int64_t k = x.dims[x.rank - 1];
  if (OrtStatus* s = input_vector(*call, spec, spec.inputs - 2, k, &weight)) return s;
  if (OrtStatus* s = input_vector(*call, spec, spec.inputs - 1, 1, &epsilon)) return s;
  float* y = nullptr;
  void* sum = nullptr;
  if (OrtStatus* s = output(*call, x, k, &y)) return s;
  if (adds) {
    if (OrtStatus* s = output(*call, 1, x.dims, x.rank, &sum)) return s;
  }
  const size_t m = rows_of(x);
  if (m == 0 || k == 0) return nullptr;
  rms_norm(*call->kernels,
           {m, static_cast<size_t>(k), static_cast<const float*>(x.data),
            static_cast<const uint8_t*>(weight.data), load_float(epsilon.data, 0), y,
            static_cast<const float*>(residual.data), static_cast<float*>(sum)},
           pool_of(call));
  return nullptr;
}

const OpSpec kRmsNorm = {"RMSNorm",
                         3,
                         {{"X", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                          {"weight", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                          {"epsilon", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}},
                         1,
                         compute,
                         nullptr};

const OpSpec kAddRmsNorm = {"AddRMSNorm",
                            4,
                            {{"X", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                             {"residual", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                             {"weight", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                             {"epsilon", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}},
                            2,
                            compute,
                            nullptr};

}  // namespace bitnet
