// Int8MatMul(X float32 [..., K], W int8 [N, K], scale float32 [N]) -> Y float32 [..., N]
#include "onnxruntime/ort.h"
#include "operators/int8_matmul/int8_matmul.h"

namespace bitnet {

static OrtStatus* compute(Call* call) {
  const OpSpec& spec = kInt8MatMul;
  Tensor x, w, scale;
  size_t m = 0, k = 0;
  if (OrtStatus* s = inputs_x_w(*call, spec, &x, &w, &m, &k)) return s;
  if (w.dims[1] != static_cast<int64_t>(k)) {
    return fail(call->api, "%s: W has %lld columns, expected K = %zu", spec.name,
                static_cast<long long>(w.dims[1]), k);
  }
  if (OrtStatus* s = input_vector(*call, spec, 2, w.dims[0], &scale)) return s;
  float* y = nullptr;
  if (OrtStatus* s = output(*call, x, w.dims[0], &y)) return s;
  const size_t n = static_cast<size_t>(w.dims[0]);
  if (m == 0 || n == 0) return nullptr;
  Scratch scratch(int8_matmul_scratch(m, k));
  if (!scratch.data) return fail(call->api, "%s: out of memory", spec.name);
  int8_matmul(*call->kernels,
              {m, k, n, static_cast<const float*>(x.data), static_cast<const uint8_t*>(w.data),
               static_cast<const float*>(scale.data), y},
              scratch.data, pool_of(call));
  return nullptr;
}

const OpSpec kInt8MatMul = {"Int8MatMul",
                            3,
                            {{"X", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                             {"W", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8},
                             {"scale", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}},
                            1,
                            compute,
                            infer_x_w};

}  // namespace bitnet
