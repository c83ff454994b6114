// TernaryGroupMatMul, TernaryFloatMatMul(X float32 [..., K], W uint8 [N, 64 * ceil(K / 256)],
//   scale float32 [N, K / 128]) -> Y float32 [..., N]
#include "onnxruntime/ort.h"
#include "operators/ternary_group_matmul/ternary_group_matmul.h"

namespace bitnet {

using Scratches = size_t (*)(size_t m, size_t k);
using MatMul = void (*)(const Kernels& kernels, const TernaryGroupMatMul& op, void* scratch,
                        const Pool& pool);

static OrtStatus* check_shapes(const Call& call, const OpSpec& spec, const Tensor& w,
                               const Tensor& scale, size_t k) {
  if (k % kGroupK != 0) {
    return fail(call.api, "%s: X has %zu columns (K), expected a multiple of %zu", spec.name, k,
                kGroupK);
  }
  const size_t groups = k / kGroupK;
  if (scale.rank != 2) {
    return fail(call.api, "%s: scale has %zu dimensions, expected 2", spec.name, scale.rank);
  }
  if (scale.dims[0] != w.dims[0] || scale.dims[1] != static_cast<int64_t>(groups)) {
    return fail(call.api, "%s: scale has shape [%lld, %lld], expected [%lld, %zu] (N, K / 128)",
                spec.name, static_cast<long long>(scale.dims[0]),
                static_cast<long long>(scale.dims[1]), static_cast<long long>(w.dims[0]), groups);
  }
  return nullptr;
}

static OrtStatus* compute(Call* call, const OpSpec& spec, Scratches scratch_bytes, MatMul matmul) {
  Tensor x, w, scale;
  size_t m = 0, k = 0;
  if (OrtStatus* s = inputs_x_packed(*call, spec, &x, &w, &m, &k)) return s;
  if (OrtStatus* s = input(*call, spec, 2, &scale)) return s;
  if (OrtStatus* s = check_shapes(*call, spec, w, scale, k)) return s;
  float* y = nullptr;
  if (OrtStatus* s = output(*call, x, w.dims[0], &y)) return s;
  const size_t n = static_cast<size_t>(w.dims[0]);
  if (m == 0 || n == 0) return nullptr;
  Scratch scratch(scratch_bytes(m, k));
  if (!scratch.data) return fail(call->api, "%s: out of memory", spec.name);
  matmul(*call->kernels,
         {m, k, n, static_cast<const float*>(x.data), static_cast<const uint8_t*>(w.data),
          static_cast<const float*>(scale.data), y},
         scratch.data, pool_of(call));
  return nullptr;
}

static OrtStatus* compute_group(Call* call) {
  return compute(call, kTernaryGroupMatMul, ternary_group_matmul_scratch, ternary_group_matmul);
}

static OrtStatus* compute_float(Call* call) {
  return compute(call, kTernaryFloatMatMul, ternary_float_matmul_scratch, ternary_float_matmul);
}

const OpSpec kTernaryGroupMatMul = {"TernaryGroupMatMul",
                                    3,
                                    {{"X", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                     {"W", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
                                     {"scale", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}},
                                    1,
                                    compute_group,
                                    infer_x_w};

const OpSpec kTernaryFloatMatMul = {"TernaryFloatMatMul",
                                    3,
                                    {{"X", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                     {"W", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
                                     {"scale", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}},
                                    1,
                                    compute_float,
                                    infer_x_w};

}  // namespace bitnet
