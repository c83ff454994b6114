// RMSNorm(X float32 [..., K], weight float32 [K], epsilon float32 [1]) -> Y float32 [..., K]
#include "ort.h"
#include "rms_norm.h"
#include "sizes.h"

namespace bitnet {

static OrtStatus* compute(Call* call) {
  const OpSpec& spec = kRmsNorm;
  Tensor x, weight, epsilon;
  if (OrtStatus* s = input(*call, spec, 0, &x)) return s;
  if (x.rank < 1) {
    return fail(call->api, "%s: X is a scalar, expected dimensions [..., K]", spec.name);
  }
  const int64_t k = x.dims[x.rank - 1];
  if (OrtStatus* s = input_vector(*call, spec, 1, k, &weight)) return s;
  if (OrtStatus* s = input_vector(*call, spec, 2, 1, &epsilon)) return s;
  float* y = nullptr;
  if (OrtStatus* s = output(*call, x, k, &y)) return s;
  const size_t m = rows_of(x);
  if (m == 0 || k == 0) return nullptr;
  rms_norm({m, static_cast<size_t>(k), static_cast<const float*>(x.data),
            static_cast<const uint8_t*>(weight.data), load_float(epsilon.data, 0), y},
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

}  // namespace bitnet
