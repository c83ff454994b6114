// GroupQueryAttention(query float32 [B, S, heads * D], key and value float32 [B, S, kv_heads * D],
//   past_key and past_value float32 [B, kv_heads, P, D], seqlens_k int32 [B] (the last position
//   that counts), total_sequence_length int32 [], cos_cache and sin_cache float32 [positions, D /
//   2])
//   -> output float32 like query, present_key and present_value float32 [B, kv_heads, L, D]
//   with L = max(P, total_sequence_length)
// GroupQueryAttentionF16: the same with past and present float16.
// The inputs are those of ONNX Runtime's operator of this name; the heads are counted by the
// shapes.
#include "attention.h"
#include "ort.h"

namespace bitnet {
namespace {

enum { kQuery, kKey, kValue, kPastKey, kPastValue, kLast, kTotal, kCos, kSin };

bool is(const Tensor& tensor, int64_t a, int64_t b, int64_t c) {
  return tensor.rank == 3 && tensor.dims[0] == a && tensor.dims[1] == b && tensor.dims[2] == c;
}

OrtStatus* check_shapes(const Call& call, const OpSpec& spec, const Tensor* in) {
  const Tensor &query = in[kQuery], &past = in[kPastKey];
  if (past.rank != 4 || past.dims[1] < 1 || past.dims[3] < 2 || past.dims[3] % 2) {
    return wrong_shape(call, spec, kPastKey, past, "[B, kv_heads, P, D] with an even D");
  }
  const int64_t batch = past.dims[0], kv_width = past.dims[1] * past.dims[3];
  if (!same_shape(in[kPastValue], past)) {
    return wrong_shape(call, spec, kPastValue, in[kPastValue], "that of past_key");
  }
  if (query.rank != 3 || query.dims[0] != batch || query.dims[2] < 1 || query.dims[2] % kv_width) {
    return wrong_shape(call, spec, kQuery, query,
                       "[B, S, heads * D], heads a multiple of kv_heads");
  }
  for (size_t index = kKey; index <= kValue; index++) {
    if (!is(in[index], batch, query.dims[1], kv_width)) {
      return wrong_shape(call, spec, index, in[index], "[B, S, kv_heads * D]");
    }
  }
  if (in[kLast].rank != 1 || in[kLast].dims[0] != batch) {
    return wrong_shape(call, spec, kLast, in[kLast], "[B]");
  }
  if (in[kTotal].rank > 1 || (in[kTotal].rank == 1 && in[kTotal].dims[0] != 1)) {
    return wrong_shape(call, spec, kTotal, in[kTotal], "[] or [1]");
  }
  if (in[kCos].rank != 2 || in[kCos].dims[1] != past.dims[3] / 2) {
    return wrong_shape(call, spec, kCos, in[kCos], "[positions, D / 2]");
  }
  if (!same_shape(in[kSin], in[kCos])) {
    return wrong_shape(call, spec, kSin, in[kSin], "that of cos_cache");
  }
  return nullptr;
}

// Every row's new positions must lie in the cache, its past ones in the past, all in the tables.
OrtStatus* check_positions(const Call& call, const char* name, const Attention& op, int64_t total,
                           int64_t tabulated) {
  if (total < static_cast<int64_t>(op.count)) {
    return fail(call.api, "%s: total_sequence_length is %lld, expected at least S, %zu", name,
                static_cast<long long>(total), op.count);
  }
  for (size_t b = 0; b < op.batch; b++) {
    if (op.last[b] < 0 || op.last[b] >= total) {
      return fail(call.api,
                  "%s: seqlens_k[%zu] is %d, expected 0 to total_sequence_length - 1, %lld", name,
                  b, op.last[b], static_cast<long long>(total - 1));
    }
    const size_t past = past_length(op, b);
    if (past > op.past) {
      return fail(call.api, "%s: row %zu has %zu past positions, past_key holds %zu", name, b, past,
                  op.past);
    }
    if (static_cast<int64_t>(past + op.count) > tabulated) {
      return fail(call.api, "%s: row %zu has %zu positions, cos_cache holds %lld", name, b,
                  past + op.count, static_cast<long long>(tabulated));
    }
  }
  return nullptr;
}

OrtStatus* compute(Call* call, const OpSpec& spec, bool half) {
  Tensor in[kMaxInputs];
  for (size_t i = 0; i < spec.inputs; i++) {
    if (OrtStatus* s = input(*call, spec, i, &in[i])) return s;
  }
  if (OrtStatus* s = check_shapes(*call, spec, in)) return s;
  const Tensor &query = in[kQuery], &past = in[kPastKey];
  const int64_t total = *static_cast<const int32_t*>(in[kTotal].data);
  const int64_t room = total > past.dims[2] ? total : past.dims[2];
  Attention op = {};
  op.batch = static_cast<size_t>(past.dims[0]);
  op.count = static_cast<size_t>(query.dims[1]);
  op.kv_heads = static_cast<size_t>(past.dims[1]);
  op.d = static_cast<size_t>(past.dims[3]);
  op.heads = static_cast<size_t>(query.dims[2]) / op.d;
  op.past = static_cast<size_t>(past.dims[2]);
  op.room = static_cast<size_t>(room);
  op.query = static_cast<const float*>(query.data);
  op.key = static_cast<const float*>(in[kKey].data);
  op.value = static_cast<const float*>(in[kValue].data);
  op.half = half;
  op.past_key = past.data;
  op.past_value = in[kPastValue].data;
  op.last = static_cast<const int32_t*>(in[kLast].data);
  op.cos = static_cast<const float*>(in[kCos].data);
  op.sin = static_cast<const float*>(in[kSin].data);
  if (op.batch == 0 || op.count == 0) {
    return fail(call->api, "%s: query has the shape [%zu, %zu, %lld], expected no empty one",
                spec.name, op.batch, op.count,
                static_cast<long long>(query.dims[2]));
  }
  if (OrtStatus* s = check_positions(*call, spec.name, op, total, in[kCos].dims[0])) return s;
  const int64_t present[4] = {past.dims[0], past.dims[1], room, past.dims[3]};
  void* y = nullptr;
  if (OrtStatus* s = output(*call, 0, query.dims, query.rank, &y)) return s;
  op.y = static_cast<float*>(y);
  if (OrtStatus* s = output(*call, 1, present, 4, &op.present_key)) return s;
  if (OrtStatus* s = output(*call, 2, present, 4, &op.present_value)) return s;
  Scratch scratch(attention_scratch(op));
  if (!scratch.data) return fail(call->api, "%s: out of memory", spec.name);
  attention(*call->kernel, op, scratch.data, pool_of(call));
  return nullptr;
}

OrtStatus* compute_float(Call* call) { return compute(call, kGroupQueryAttention, false); }
OrtStatus* compute_half(Call* call) { return compute(call, kGroupQueryAttentionF16, true); }

constexpr OpSpec spec_of(const char* name, ONNXTensorElementDataType cache,
                         OrtStatus* (*compute)(Call* call)) {
  return {name,
          9,
          {{"query", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
           {"key", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
           {"value", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
           {"past_key", cache},
           {"past_value", cache},
           {"seqlens_k", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
           {"total_sequence_length", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
           {"cos_cache", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
           {"sin_cache", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}},
          3,
          compute,
          nullptr,
          cache};
}

}  // namespace

const OpSpec kGroupQueryAttention =
    spec_of("GroupQueryAttention", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, compute_float);
const OpSpec kGroupQueryAttentionF16 =
    spec_of("GroupQueryAttentionF16", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, compute_half);

}  // namespace bitnet
