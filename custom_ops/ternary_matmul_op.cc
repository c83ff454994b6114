// TernaryMatMul(X float32 [..., K], W uint8 [N, 64 * ceil(K / 256)], scale float32 [1] or [N])
//   -> Y float32 [..., N]
#include "ort.h"
#include "ternary_matmul.h"

namespace bitnet {

static OrtStatus* compute(Call* call) {
  const OpSpec& spec = kTernaryMatMul;
  Tensor x, w, scale;
  size_t m = 0, k = 0;
  if (OrtStatus* s = inputs_x_packed(*call, spec, &x, &w, &m, &k)) return s;
  if (OrtStatus* s = input(*call, spec, 2, &scale)) return s;
  if (scale.rank != 1 || (scale.dims[0] != 1 && scale.dims[0] != w.dims[0])) {
    return fail(
        call->api,
        "%s: scale has %zu dimensions and %lld elements, expected shape [1] or [N], N = %lld",
        spec.name, scale.rank, static_cast<long long>(elements(scale)),
        static_cast<long long>(w.dims[0]));
  }
  float* y = nullptr;
  if (OrtStatus* s = output(*call, x, w.dims[0], &y)) return s;
  const size_t n = static_cast<size_t>(w.dims[0]);
  if (m == 0 || n == 0) return nullptr;
  Scratch scratch(ternary_matmul_scratch(m, k));
  if (!scratch.data) return fail(call->api, "%s: out of memory", spec.name);
  ternary_matmul(*call->kernel,
                 {m, k, n, static_cast<const float*>(x.data), static_cast<const uint8_t*>(w.data),
                  static_cast<const uint8_t*>(scale.data), scale.dims[0] != 1, y},
                 scratch.data, pool_of(call));
  return nullptr;
}

const OpSpec kTernaryMatMul = {"TernaryMatMul",
                               3,
                               {{"X", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                {"W", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
                                {"scale", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}},
                               1,
                               compute,
                               infer_x_w};

}  // namespace bitnet
