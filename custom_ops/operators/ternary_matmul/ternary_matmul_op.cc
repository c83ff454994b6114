// TernaryMatMul(X float32 [..., K], W uint8 [N, 64 * ceil(K / 256)], scale float32 [1] or [N])
//   -> Y float32 [..., N]
// TernaryNormMatMul(X, W, scale, norm float32 [K], epsilon float32 [1])
//   -> Y, normed float32 [..., K], optional: the norm of X, which W is multiplied with
#include "onnxruntime/ort.h"
#include "operators/rms_norm/rms_norm.h"
#include "operators/ternary_matmul/ternary_matmul.h"
#include "platform/sizes.h"

namespace bitnet {

static OrtStatus* compute(Call* call) {
  const OpSpec& spec = *call->spec;
  const bool norms = spec.outputs == 2;
  Tensor x, w, scale, norm, epsilon;
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
  void* normed = nullptr;
  if (norms) {
    if (OrtStatus* s = input_vector(*call, spec, 3, x.dims[x.rank - 1], &norm)) return s;
    if (OrtStatus* s = input_vector(*call, spec, 4, 1, &epsilon)) return s;
    if (OrtStatus* s = optional_output(*call, 1, x.dims, x.rank, &normed)) return s;
  }
  if (OrtStatus* s = output(*call, x, w.dims[0], &y)) return s;
  const size_t n = static_cast<size_t>(w.dims[0]);
  if (m == 0 || n == 0) return nullptr;
  const size_t norm_bytes = norms && !normed ? padded(m * k * sizeof(float), 64) : 0;
  Scratch scratch(norm_bytes + ternary_matmul_scratch(m, k));
  if (!scratch.data) return fail(call->api, "%s: out of memory", spec.name);
  const Pool pool = pool_of(call);
  const float* rows = static_cast<const float*>(x.data);
  void* rest = static_cast<char*>(scratch.data) + norm_bytes;
  if (norms) {
    float* to = static_cast<float*>(normed ? normed : scratch.data);
    rms_norm(*call->kernels,
             {m, k, rows, static_cast<const uint8_t*>(norm.data), load_float(epsilon.data, 0), to,
              nullptr, nullptr},
             pool);
    rows = to;
  }
  ternary_matmul(*call->kernels,
                 {m, k, n, rows, static_cast<const uint8_t*>(w.data),
                  static_cast<const uint8_t*>(scale.data), scale.dims[0] != 1, y},
                 rest, pool);
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

const OpSpec kTernaryNormMatMul = {"TernaryNormMatMul",
                                   5,
                                   {{"X", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                    {"W", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
                                    {"scale", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                    {"norm", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                    {"epsilon", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}},
                                   2,
                                   compute,
                                   nullptr,
                                   ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                   true};

}  // namespace bitnet
