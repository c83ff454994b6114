// RMSNorm(X float32 [..., K], weight float32 [K], epsilon float32 [1]) -> Y float32 [..., K]
#include <string.h>

#include "ort.h"
#include "rms_norm.h"

namespace bitnet {

static OrtStatus* compute(Call* call) {
  const OpSpec& spec = kRmsNorm;
  Tensor in[3];
  for (size_t i = 0; i < 3; i++) {
    if (OrtStatus* s = input(*call, spec, i, &in[i])) return s;
  }
  const Tensor& x = in[0];
  if (x.rank < 1) {
    return fail(call->api, "%s: X is a scalar, expected dimensions [..., K]", spec.name);
  }
  const int64_t k = x.dims[x.rank - 1];
  for (size_t i = 1; i < 3; i++) {
    const int64_t expected = i == 1 ? k : 1;
    if (in[i].rank != 1 || in[i].dims[0] != expected) {
      return fail(call->api, "%s: %s has %zu dimensions and %lld elements, expected shape [%lld]",
                  spec.name, spec.input[i].name, in[i].rank,
                  in[i].rank ? static_cast<long long>(in[i].dims[0]) : 1ll,
                  static_cast<long long>(expected));
    }
  }
  float* y = nullptr;
  if (OrtStatus* s = output(*call, x, k, &y)) return s;
  size_t m = 1;
  for (size_t i = 0; i + 1 < x.rank; i++) m *= static_cast<size_t>(x.dims[i]);
  if (m == 0 || k == 0) return nullptr;
  float epsilon;
  memcpy(&epsilon, in[2].data, sizeof epsilon);
  rms_norm({m, static_cast<size_t>(k), static_cast<const float*>(x.data),
            static_cast<const uint8_t*>(in[1].data), epsilon, y},
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
