// GroupQueryAttention(query float32 [B, S, heads * D], key and value float32 [B, S, kv_heads * D],
//   past_key and past_value float32 [B, kv_heads, P, D], seqlens_k int32 [B] (the last position
//   that counts), total_sequence_length int32 [], cos_cache, sin_cache float32 [positions, D / 2])
//   -> output float32 like query, present_key and present_value float32 [B, kv_heads, L, D]
//   with L = max(P, total_sequence_length)
// Names with F16: past and present are float16.
// Names with Int8: past and present are int8, D is at most 512; two more inputs, past_key_scale and
//   past_value_scale float32 [B, kv_heads, P], and two more outputs, present_key_scale and
//   present_value_scale float32 [B, kv_heads, L]
// Names with Int4: the same, but past and present are uint8 [B, kv_heads, P or L, 17 ceil(D / 32)]
// Names with QKV: qkv float32 [B, S, (heads + 2 kv_heads) * D] replaces query, key and value.
// An attribute, window: the positions up to its own that a new one attends to; absent or 0: all.
// The inputs are those of ONNX Runtime's operator of this name. The shapes give the heads.
#include "onnxruntime/ort.h"
#include "operators/attention/attention.h"

namespace bitnet {
namespace {

// The places of the inputs. With qkv the later inputs keep theirs.
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
constexpr size_t kJoined = kValue - kQuery;  // inputs fewer, where qkv is one

bool is(const Tensor& tensor, int64_t a, int64_t b, int64_t c) {
  return tensor.rank == 3 && tensor.dims[0] == a && tensor.dims[1] == b && tensor.dims[2] == c;
}

// D, which only the tables show where the rows of a cache are packed; 0 where that cannot be.
int64_t width_of(const Tensor* in, CacheType cache) {
  const Tensor &past = in[kPastKey], &table = in[kCos];
  if (past.rank != 4 || past.dims[1] < 1) return 0;
  if (cache != CacheType::kInt4) return past.dims[3] % 2 ? 0 : past.dims[3];
  const int64_t d = table.rank == 2 ? 2 * table.dims[1] : 0;
  return past.dims[3] == static_cast<int64_t>(row_bytes(cache, static_cast<size_t>(d))) ? d : 0;
}

OrtStatus* check_shapes(const Call& call, const Tensor* in, CacheType cache, bool joined) {
  const Tensor &query = in[kQuery], &past = in[kPastKey];
  const int64_t d = width_of(in, cache);
  if (d < 2) {
    return wrong_shape(call, past,
                       cache == CacheType::kInt4
                           ? "[B, kv_heads, P, 17 ceil(D / 32)] with cos_cache's D"
                           : "[B, kv_heads, P, D] with an even D");
  }
  const int64_t batch = past.dims[0], kv_width = past.dims[1] * d;
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
  if (in[kCos].rank != 2 || in[kCos].dims[1] != d / 2) {
    return wrong_shape(call, in[kCos], "[positions, D / 2]");
  }
  if (!same_shape(in[kSin], in[kCos])) {
    return wrong_shape(call, in[kSin], "that of cos_cache");
  }
  return nullptr;
}

OrtStatus* check_scales(const Call& call, const Tensor* in) {
  const Tensor& past = in[kPastKey];
  if (in[kCos].dims[1] > static_cast<int64_t>(kAttendDepth / 2)) {
    return wrong_shape(call, past, "[B, kv_heads, P, D] with D at most 512");
  }
  for (size_t index = kPastKeyScale; index <= kPastValueScale; index++) {
    if (!is(in[index], past.dims[0], past.dims[1], past.dims[2])) {
      return wrong_shape(call, in[index], "[B, kv_heads, P]");
    }
  }
  return nullptr;
}

// The new positions of every row must lie in the cache, the past ones in the past, and all in the
// tables.
OrtStatus* check_positions(const Call& call, const Attention& op, int64_t total,
                           int64_t tabulated) {
  const char* name = call.spec->name;
  if (total < static_cast<int64_t>(op.count)) {
    return fail(call.api, "%s: total_sequence_length is %lld, expected at least S, %zu", name,
                static_cast<long long>(total), op.count);
  }
  if (static_cast<int64_t>(op.heads) > kMaxElements / total) {
    return fail(call.api, "%s: %zu heads have %lld positions each, expected at most 2^47 scores",
                name, op.heads, static_cast<long long>(total));
  }
  for (size_t b = 0; b < op.batch; b++) {
    if (op.last[b] < 0 || op.last[b] >= total) {
      return fail(call.api,
                  "%s: seqlens_k[%zu] is %d, expected 0 to total_sequence_length - 1, %lld", name,
                  b, op.last[b], static_cast<long long>(total - 1));
    }
    const size_t past = past_length(op, b);
    if (past > op.past) {
      return fail(call.api, "%s: row %zu has %zu past positions, expected at most past_key's %zu",
                  name, b, past, op.past);
    }
    if (static_cast<int64_t>(past + op.count) > tabulated) {
      return fail(call.api, "%s: row %zu has %zu positions, expected at most cos_cache's %lld",
                  name, b, past + op.count, static_cast<long long>(tabulated));
    }
  }
  return nullptr;
}

CacheType cache_of(ONNXTensorElementDataType type) {
  if (type == kFloat16) return CacheType::kFloat16;
  if (type == kUint8) return CacheType::kInt4;
  return type == kInt8 ? CacheType::kInt8 : CacheType::kFloat32;
}

// The inputs as ring two reads them, with `room` positions in the present caches.
Attention attention_of(const Tensor* in, CacheType cache, bool joined, int64_t room) {
  const Tensor &query = in[kQuery], &past = in[kPastKey];
  const size_t kv_heads = static_cast<size_t>(past.dims[1]);
  const size_t d = 2 * static_cast<size_t>(in[kCos].dims[1]);
  const size_t width = static_cast<size_t>(query.dims[2]), kv_width = kv_heads * d;
  const size_t q_width = joined ? width - 2 * kv_width : width;
  return {.batch = static_cast<size_t>(past.dims[0]),
          .count = static_cast<size_t>(query.dims[1]),
          .heads = q_width / d,
          .kv_heads = kv_heads,
          .d = d,
          .past = static_cast<size_t>(past.dims[2]),
          .room = static_cast<size_t>(room),
          .query = floats(query),
          .key = joined ? floats(query) + q_width : floats(in[kKey]),
          .value = joined ? floats(query) + q_width + kv_width : floats(in[kValue]),
          .query_stride = width,
          .kv_stride = joined ? width : kv_width,
          .cache = cache,
          .past_key = past.data,
          .past_value = in[kPastValue].data,
          .last = static_cast<const int32_t*>(in[kLast].data),
          .cos = floats(in[kCos]),
          .sin = floats(in[kSin])};
}

OrtStatus* outputs(const Call& call, const Tensor* in, Attention* op) {
  const Tensor &query = in[kQuery], &past = in[kPastKey];
  const int64_t attended[3] = {query.dims[0], query.dims[1],
                               static_cast<int64_t>(op->heads * op->d)};
  const int64_t present[4] = {past.dims[0], past.dims[1], static_cast<int64_t>(op->room),
                              past.dims[3]};
  void *y = nullptr, *key_scale = nullptr, *value_scale = nullptr;
  if (OrtStatus* s = output(call, 0, attended, 3, &y)) return s;
  op->y = static_cast<float*>(y);
  if (OrtStatus* s = output(call, 1, present, 4, &op->present_key)) return s;
  if (OrtStatus* s = output(call, 2, present, 4, &op->present_value)) return s;
  if (call.spec->outputs.count == 3) return nullptr;
  if (OrtStatus* s = output(call, 3, present, 3, &key_scale)) return s;
  if (OrtStatus* s = output(call, 4, present, 3, &value_scale)) return s;
  op->past_key_scale = floats(in[kPastKeyScale]);
  op->past_value_scale = floats(in[kPastValueScale]);
  op->present_key_scale = static_cast<float*>(key_scale);
  op->present_value_scale = static_cast<float*>(value_scale);
  return nullptr;
}

OrtStatus* compute(Call* call, bool joined) {
  const CacheType cache = cache_of(call->spec->outputs[1].type);
  Tensor in[kInputs];
  for (size_t i = 0; i < call->spec->inputs.count; i++) {
    const size_t place = joined && i > kQuery ? i + kJoined : i;
    if (OrtStatus* s = input(*call, i, &in[place])) return s;
  }
  if (joined) in[kQuery].name = "qkv";
  if (OrtStatus* s = check_shapes(*call, in, cache, joined)) return s;
  if (OrtStatus* s = call->spec->outputs.count > 3 ? check_scales(*call, in) : nullptr) return s;
  const int64_t total = *static_cast<const int32_t*>(in[kTotal].data), past = in[kPastKey].dims[2];
  Attention op = attention_of(in, cache, joined, total > past ? total : past);
  if (op.batch == 0 || op.count == 0) return wrong_shape(*call, in[kQuery], "no empty one");
  if (call->attribute < 0) {
    return fail(call->api, "%s: window is %lld, expected 0 or more", call->spec->name,
                static_cast<long long>(call->attribute));
  }
  op.window = static_cast<size_t>(call->attribute);
  if (OrtStatus* s = check_positions(*call, op, total, in[kCos].dims[0])) return s;
  if (OrtStatus* s = outputs(*call, in, &op)) return s;
  return run_with_scratch(call, attention_scratch(op), op, attention);
}

OrtStatus* compute_parts(Call* call) { return compute(call, false); }
OrtStatus* compute_joined(Call* call) { return compute(call, true); }

// With qkv, whose name comes with the tensor, the first two are left out.
template <ONNXTensorElementDataType cache>
constexpr InputSpec kInputSpecs[] = {{"query"},
                                     {"key"},
                                     {"value"},
                                     {"past_key", cache},
                                     {"past_value", cache},
                                     {"seqlens_k", kInt32},
                                     {"total_sequence_length", kInt32},
                                     {"cos_cache"},
                                     {"sin_cache"},
                                     {"past_key_scale"},
                                     {"past_value_scale"}};

template <ONNXTensorElementDataType cache>
constexpr OutputSpec kOutputs[] = {{"output"},
                                   {"present_key", cache},
                                   {"present_value", cache},
                                   {"present_key_scale"},
                                   {"present_value_scale"}};

// Only caches of integers have the scales, which come last.
template <ONNXTensorElementDataType cache, bool joined>
constexpr OpSpec spec_of(const char* name) {
  const size_t scales = cache == kInt8 || cache == kUint8 ? 2 : 0, skipped = joined ? kJoined : 0;
  return {.name = name,
          .inputs = {kInputSpecs<cache> + skipped, kPastKeyScale + scales - skipped},
          .outputs = {kOutputs<cache>, 3 + scales},
          .compute = joined ? compute_joined : compute_parts,
          .attribute = "window",
          .required = false};
}

}  // namespace

const OpSpec kGroupQueryAttention = spec_of<kFloat32, false>("GroupQueryAttention");
const OpSpec kGroupQueryAttentionF16 = spec_of<kFloat16, false>("GroupQueryAttentionF16");
const OpSpec kGroupQueryAttentionInt8 = spec_of<kInt8, false>("GroupQueryAttentionInt8");
const OpSpec kGroupQueryAttentionInt4 = spec_of<kUint8, false>("GroupQueryAttentionInt4");
const OpSpec kGroupQueryAttentionQKV = spec_of<kFloat32, true>("GroupQueryAttentionQKV");
const OpSpec kGroupQueryAttentionF16QKV = spec_of<kFloat16, true>("GroupQueryAttentionF16QKV");
const OpSpec kGroupQueryAttentionInt8QKV = spec_of<kInt8, true>("GroupQueryAttentionInt8QKV");
const OpSpec kGroupQueryAttentionInt4QKV = spec_of<kUint8, true>("GroupQueryAttentionInt4QKV");

}  // namespace bitnet
