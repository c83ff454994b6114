// Bf16MatMul(X float32 [..., K], W bfloat16 [N, K]) -> Y float32 [..., N]
#include "onnxruntime/ort.h"
#include "operators/bf16_matmul/bf16_matmul.h"

namespace bitnet {

static OrtStatus* compute(Call* call) {
  const OpSpec& spec = kBf16MatMul;
  Tensor x, w;
  size_t m = 0, k = 0;
  if (OrtStatus* s = inputs_x_w(*call, spec, &x, &w, &m, &k)) return s;
  if (w.dims[1] != static_cast<int64_t>(k)) {
    return fail(call->api, "%s: W has %lld columns, expected K = %zu", spec.name,
                static_cast<long long>(w.dims[1]), k);
  }
  float* y = nullptr;
  if (OrtStatus* s = output(*call, x, w.dims[0], &y)) return s;
  const size_t n = static_cast<size_t>(w.dims[0]);
  if (m == 0 || n == 0) return nullptr;
  Scratch scratch(bf16_matmul_scratch(m, k));
  if (!scratch.data) return fail(call->api, "%s: out of memory", spec.name);
  bf16_matmul(*call->kernels,
              {m, k, n, static_cast<const float*>(x.data), static_cast<const uint8_t*>(w.data), y},
              scratch.data, pool_of(call));
  return nullptr;
}

const OpSpec kBf16MatMul = {
    "Bf16MatMul",
    2,
    {{"X", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}, {"W", ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16}},
    1,
    compute,
    infer_x_w};

}  // namespace bitnet
