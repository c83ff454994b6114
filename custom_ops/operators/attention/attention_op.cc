// GroupQueryAttention(query float32 [B, S, heads * D], key and value float32 [B, S, kv_heads * D],
//   past_key and past_value float32 [B, kv_heads, P, D], seqlens_k int32 [B] (the last position
//   that counts), total_sequence_length int32 [], cos_cache and sin_cache float32 [positions, D /
//   2])
//   -> output float32 like query, present_key and present_value float32 [B, kv_heads, L, D]
//   with L = max(P, total_sequence_length)
// GroupQueryAttentionF16: the same with past and present float16.
// GroupQueryAttentionInt8: the same with past and present int8, D at most 512; two more inputs,
//   past_key_scale and past_value_scale float32 [B, kv_heads, P], and two more outputs,
//   present_key_scale and present_value_scale float32 [B, kv_heads, L]
// Each with QKV after its name: the same with qkv float32 [B, S, (heads + 2 kv_heads) * D] in place
//   of query, key and value: each position's stand side by side.
// The inputs are those of ONNX Runtime's operator of this name; the heads are counted by the
// shapes.
#include "onnxruntime/ort.h"
#include "operators/attention/attention.h"

namespace bitnet {
namespace {

// With qkv, the inputs after it have the places that they have without.
enum {
  kQuery,
  kKey,
  kValue,
  kPastKey,
  kPastValue,
  kLast,
  kTotal,
  kCos,
  kSin,
  kPastKeyScale,
  kPastValueScale,
  kInputs
};
constexpr size_t kJoined = kValue - kQuery;          // inputs fewer, where qkv is one
constexpr size_t kScales = kInputs - kPastKeyScale;  // inputs and outputs more, with int8 caches

bool is(const Tensor& tensor, int64_t a, int64_t b, int64_t c) {
  return tensor.rank == 3 && tensor.dims[0] == a && tensor.dims[1] == b && tensor.dims[2] == c;
}

OrtStatus* check_shapes(const Call& call, const Tensor* in, bool joined) {
  const Tensor &query = in[kQuery], &past = in[kPastKey];
  if (past.rank != 4 || past.dims[1] < 1 || past.dims[3] < 2 || past.dims[3] % 2) {
    return wrong_shape(call, past, "[B, kv_heads, P, D] with an even D");
  }
  const int64_t batch = past.dims[0], kv_width = past.dims[1] * past.dims[3];
  if (!same_shape(in[kPastValue], past)) {
    return wrong_shape(call, in[kPastValue], "that of past_key");
  }
  const int64_t others = joined ? 2 * kv_width : 0;
  if (query.rank != 3 || query.dims[0] != batch || query.dims[2] <= others ||
      query.dims[2] % kv_width) {
    return wrong_shape(call, query,
                       joined ? "[B, S, (heads + 2 kv_heads) * D], heads a multiple of kv_heads"
                              : "[B, S, heads * D], heads a multiple of kv_heads");
  }
  for (size_t index = kKey; index <= kValue && !joined; index++) {
    if (!is(in[index], batch, query.dims[1], kv_width)) {
      return wrong_shape(call, in[index], "[B, S, kv_heads * D]");
    }
  }
  if (in[kLast].rank != 1 || in[kLast].dims[0] != batch) {
    return wrong_shape(call, in[kLast], "[B]");
  }
  if (in[kTotal].rank > 1 || (in[kTotal].rank == 1 && in[kTotal].dims[0] != 1)) {
    return wrong_shape(call, in[kTotal], "[] or [1]");
  }
  if (in[kCos].rank != 2 || in[kCos].dims[1] != past.dims[3] / 2) {
    return wrong_shape(call, in[kCos], "[positions, D / 2]");
  }
  if (!same_shape(in[kSin], in[kCos])) {
    return wrong_shape(call, in[kSin], "that of cos_cache");
  }
  return nullptr;
}

OrtStatus* check_int8(const Call& call, const Tensor* in) {
  const Tensor& past = in[kPastKey];
  if (past.dims[3] > static_cast<int64_t>(kAttendDepth)) {
    return wrong_shape(call, past, "[B, kv_heads, P, D] with D at most 512");
  }
  for (size_t index = kPastKeyScale; index <= kPastValueScale; index++) {
    if (!is(in[index], past.dims[0], past.dims[1], past.dims[2])) {
      return wrong_shape(call, in[index], "[B, kv_heads, P]");
    }
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

CacheType cache_of(const OpSpec& spec) {
  switch (spec.caches) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      return CacheType::kFloat16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
      return CacheType::kInt8;
    default:
      return CacheType::kFloat32;
  }
}

OrtStatus* compute(Call* call) {
  const OpSpec& spec = *call->spec;
  const CacheType cache = cache_of(spec);
  const bool scaled = cache == CacheType::kInt8;
  const bool joined = spec.inputs < kInputs - (scaled ? 0 : kScales);
  Tensor in[kInputs];
  for (size_t i = 0; i < spec.inputs; i++) {
    const size_t place = joined && i > kQuery ? i + kJoined : i;
    if (OrtStatus* s = input(*call, spec, i, &in[place])) return s;
  }
  if (OrtStatus* s = check_shapes(*call, in, joined)) return s;
  if (OrtStatus* s = scaled ? check_int8(*call, in) : nullptr) return s;
  const Tensor &query = in[kQuery], &past = in[kPastKey];
  const int64_t total = *static_cast<const int32_t*>(in[kTotal].data);
  const int64_t room = total > past.dims[2] ? total : past.dims[2];
  Attention op = {};
  op.batch = static_cast<size_t>(past.dims[0]);
  op.count = static_cast<size_t>(query.dims[1]);
  op.kv_heads = static_cast<size_t>(past.dims[1]);
  op.d = static_cast<size_t>(past.dims[3]);
  op.heads = static_cast<size_t>(query.dims[2]) / op.d - (joined ? 2 * op.kv_heads : 0);
  op.past = static_cast<size_t>(past.dims[2]);
  op.room = static_cast<size_t>(room);
  op.query = static_cast<const float*>(query.data);
  op.query_stride = static_cast<size_t>(query.dims[2]);
  op.kv_stride = joined ? op.query_stride : op.kv_heads * op.d;
  op.key = joined ? op.query + op.heads * op.d : static_cast<const float*>(in[kKey].data);
  op.value = joined ? op.key + op.kv_heads * op.d : static_cast<const float*>(in[kValue].data);
  op.cache = cache;
  op.past_key = past.data;
  op.past_value = in[kPastValue].data;
  op.last = static_cast<const int32_t*>(in[kLast].data);
  op.cos = static_cast<const float*>(in[kCos].data);
  op.sin = static_cast<const float*>(in[kSin].data);
  if (op.batch == 0 || op.count == 0) {
    return wrong_shape(*call, query, "no empty one");
  }
  if (OrtStatus* s = check_positions(*call, spec.name, op, total, in[kCos].dims[0])) return s;
  const int64_t attended[3] = {query.dims[0], query.dims[1], static_cast<int64_t>(op.heads * op.d)};
  const int64_t present[4] = {past.dims[0], past.dims[1], room, past.dims[3]};
  void* y = nullptr;
  if (OrtStatus* s = output(*call, 0, attended, 3, &y)) return s;
  op.y = static_cast<float*>(y);
  if (OrtStatus* s = output(*call, 1, present, 4, &op.present_key)) return s;
  if (OrtStatus* s = output(*call, 2, present, 4, &op.present_value)) return s;
  if (scaled) {
    void *key_scale = nullptr, *value_scale = nullptr;
    if (OrtStatus* s = output(*call, 3, present, 3, &key_scale)) return s;
    if (OrtStatus* s = output(*call, 4, present, 3, &value_scale)) return s;
    op.past_key_scale = static_cast<const float*>(in[kPastKeyScale].data);
    op.past_value_scale = static_cast<const float*>(in[kPastValueScale].data);
    op.present_key_scale = static_cast<float*>(key_scale);
    op.present_value_scale = static_cast<float*>(value_scale);
  }
  Scratch scratch(attention_scratch(op));
  if (!scratch.data) return fail(call->api, "%s: out of memory", spec.name);
  attention(*call->kernels, op, scratch.data, pool_of(call));
  return nullptr;
}

constexpr ONNXTensorElementDataType kFloat = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                    kHalf = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
                                    kInt8 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;

constexpr OpSpec spec_of(const char* name, ONNXTensorElementDataType cache) {
  const size_t scales = cache == kInt8 ? kScales : 0;
  return {name,
          kPastKeyScale + scales,
          {{"query", kFloat},
           {"key", kFloat},
           {"value", kFloat},
           {"past_key", cache},
           {"past_value", cache},
           {"seqlens_k", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
           {"total_sequence_length", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
           {"cos_cache", kFloat},
           {"sin_cache", kFloat},
           {"past_key_scale", kFloat},
           {"past_value_scale", kFloat}},
          3 + scales,
          compute,
          nullptr,
          cache};
}

constexpr OpSpec joined(OpSpec spec) {
  spec.inputs -= kJoined;
  spec.input[kQuery].name = "qkv";
  for (size_t i = kQuery + 1; i < spec.inputs; i++) spec.input[i] = spec.input[i + kJoined];
  return spec;
}

}  // namespace

const OpSpec kGroupQueryAttention = spec_of("GroupQueryAttention", kFloat);
const OpSpec kGroupQueryAttentionF16 = spec_of("GroupQueryAttentionF16", kHalf);
const OpSpec kGroupQueryAttentionInt8 = spec_of("GroupQueryAttentionInt8", kInt8);
const OpSpec kGroupQueryAttentionQKV = joined(spec_of("GroupQueryAttentionQKV", kFloat));
const OpSpec kGroupQueryAttentionF16QKV = joined(spec_of("GroupQueryAttentionF16QKV", kHalf));
const OpSpec kGroupQueryAttentionInt8QKV = joined(spec_of("GroupQueryAttentionInt8QKV", kInt8));

}  // namespace bitnet
