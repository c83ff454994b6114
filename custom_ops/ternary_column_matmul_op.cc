// TernaryColumnMatMul(X float32 [..., K], W uint8 [K, 64 * ceil(N / 256)], scale float32 [N])
//   -> Y float32 [..., N]
#include "ort.h"
#include "ternary_column_matmul.h"

namespace bitnet {

static OrtStatus* compute(Call* call) {
  const OpSpec& spec = kTernaryColumnMatMul;
  Tensor x, w, scale;
  size_t m = 0, k = 0;
  if (OrtStatus* s = inputs_x_w(*call, spec, &x, &w, &m, &k)) return s;
  if (OrtStatus* s = input(*call, spec, 2, &scale)) return s;
  if (w.dims[0] != static_cast<int64_t>(k)) {
    return fail(call->api, "%s: W has %lld rows, expected K = %zu", spec.name,
                static_cast<long long>(w.dims[0]), k);
  }
  const size_t block = kBlockBytes, blocks = static_cast<size_t>(w.dims[1]) / block;
  const size_t most = blocks * kBlockK,
               n = scale.rank == 1 ? static_cast<size_t>(scale.dims[0]) : 0;
  if (scale.rank != 1 || static_cast<size_t>(w.dims[1]) % block != 0 || n > most ||
      n + kBlockK <= most) {
    return fail(call->api,
                "%s: W has %lld columns and scale %zu dimensions and %zu elements, expected "
                "64 * ceil(N / 256) columns and scale [N]",
                spec.name, static_cast<long long>(w.dims[1]), scale.rank, n);
  }
  float* y = nullptr;
  if (OrtStatus* s = output(*call, x, scale.dims[0], &y)) return s;
  if (m == 0 || n == 0) return nullptr;
  Scratch scratch(ternary_column_matmul_scratch(m, k, n));
  if (!scratch.data) return fail(call->api, "%s: out of memory", spec.name);
  ternary_column_matmul(
      *call->kernel,
      {m, k, n, static_cast<const float*>(x.data), static_cast<const uint8_t*>(w.data),
       static_cast<const uint8_t*>(scale.data), y},
      scratch.data, pool_of(call));
  return nullptr;
}

const OpSpec kTernaryColumnMatMul = {"TernaryColumnMatMul",
                                     3,
                                     {{"X", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                      {"W", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
                                      {"scale", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}},
                                     1,
                                     compute,
                                     nullptr};

}  // namespace bitnet
