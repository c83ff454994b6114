// TernaryFeedForward(X float32 [..., K], gate uint8 [N, 64 * ceil(K / 256)], up like gate,
//   gate_scale float32 [1], up_scale float32 [1], norm float32 [N], epsilon float32 [1],
//   down uint8 [N, 64 * ceil(M / 256)], by column, down_scale float32 [M])
//   -> Y float32 [..., M], normed float32 [..., N], optional: what down is multiplied with
#include "onnxruntime/ort.h"
#include "operators/rms_norm/rms_norm.h"
#include "operators/ternary.h"
#include "operators/ternary_feed_forward/ternary_column_matmul.h"
#include "operators/ternary_feed_forward/ternary_gated_matmul.h"
#include "platform/sizes.h"

namespace bitnet {
namespace {

enum { kX, kGate, kUp, kGateScale, kUpScale, kNorm, kEpsilon, kDown, kDownScale };

const uint8_t* bytes(const Tensor& tensor) { return static_cast<const uint8_t*>(tensor.data); }

// Input kDown, with as many rows as gate and columns for the elements of kDownScale.
OrtStatus* input_down(const Call& call, int64_t n, Tensor* down, Tensor* scale) {
  const OpSpec& spec = *call.spec;
  if (OrtStatus* s = input(call, spec, kDown, down)) return s;
  if (OrtStatus* s = input(call, spec, kDownScale, scale)) return s;
  if (scale->rank != 1) return wrong_shape(call, *scale, "[M]");
  const size_t columns = blocks_of(static_cast<size_t>(scale->dims[0])) * kBlockBytes;
  if (down->rank == 2 && down->dims[0] == n && static_cast<size_t>(down->dims[1]) == columns) {
    return nullptr;
  }
  return wrong_shape(call, *down,
                     "[N, 64 * ceil(M / 256)] with the rows of gate and M of its scale");
}

OrtStatus* compute(Call* call) {
  const OpSpec& spec = *call->spec;
  Tensor x, gate, up, scales[2], norm, epsilon, down, down_scale;
  size_t m = 0, k = 0;
  if (OrtStatus* s = inputs_x_packed(*call, spec, &x, &gate, &m, &k)) return s;
  if (gate.dims[0] < 1 || gate.dims[0] > static_cast<int64_t>(kMaxK)) {
    return fail(call->api, "%s: gate has %lld rows (N), expected 1 to %zu", spec.name,
                static_cast<long long>(gate.dims[0]), kMaxK);
  }
  if (OrtStatus* s = input(*call, spec, kUp, &up)) return s;
  if (!same_shape(up, gate)) return wrong_shape(*call, up, "that of gate");
  for (size_t i = 0; i < 2; i++) {
    if (OrtStatus* s = input_vector(*call, spec, kGateScale + i, 1, &scales[i])) return s;
  }
  if (OrtStatus* s = input_vector(*call, spec, kNorm, gate.dims[0], &norm)) return s;
  if (OrtStatus* s = input_vector(*call, spec, kEpsilon, 1, &epsilon)) return s;
  if (OrtStatus* s = input_down(*call, gate.dims[0], &down, &down_scale)) return s;
  float* y = nullptr;
  void* normed = nullptr;
  if (OrtStatus* s = output(*call, x, down_scale.dims[0], &y)) return s;
  int64_t dims[kMaxRank];
  memcpy(dims, x.dims, sizeof dims);
  dims[x.rank - 1] = gate.dims[0];
  if (OrtStatus* s = optional_output(*call, 1, dims, x.rank, &normed)) return s;
  const size_t n = static_cast<size_t>(gate.dims[0]),
               width = static_cast<size_t>(down_scale.dims[0]);
  if (m == 0) return nullptr;
  const size_t product_bytes = padded(m * n * sizeof(float), 64);
  const size_t gated = ternary_gated_matmul_scratch(m, k, n);
  const size_t column = ternary_column_matmul_scratch(m, n, width);
  Scratch scratch(2 * product_bytes + (gated > column ? gated : column));
  if (!scratch.data) return fail(call->api, "%s: out of memory", spec.name);
  float* product = static_cast<float*>(scratch.data);
  if (!normed) normed = static_cast<char*>(scratch.data) + product_bytes;
  void* rest = static_cast<char*>(scratch.data) + 2 * product_bytes;
  const Pool pool = pool_of(call);
  ternary_gated_matmul(*call->kernels,
                       {m, k, n, static_cast<const float*>(x.data), bytes(gate), bytes(up),
                        bytes(scales[0]), bytes(scales[1]), product},
                       rest, pool);
  float* rows = static_cast<float*>(normed);
  rms_norm(*call->kernels,
           {m, n, product, bytes(norm), load_float(epsilon.data, 0), rows, nullptr, nullptr}, pool);
  ternary_column_matmul(*call->kernels, {m, n, width, rows, bytes(down), bytes(down_scale), y},
                        rest, pool);
  return nullptr;
}

}  // namespace

const OpSpec kTernaryFeedForward = {"TernaryFeedForward",
                                    9,
                                    {{"X", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                     {"gate", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
                                     {"up", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
                                     {"gate_scale", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                     {"up_scale", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                     {"norm", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                     {"epsilon", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                     {"down", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
                                     {"down_scale", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}},
                                    2,
                                    compute,
                                    nullptr,
                                    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                    true};

}  // namespace bitnet
