#include "operators/attention/attention.h"
#include "platform/sizes.h"
#include "testing/hash.h"
#include "testing/pools.h"

using namespace bitnet;

static const struct AttentionShape {
  size_t batch, count, heads, kv_heads, d, past;
} kAttention[] = {{1, 1, 20, 5, 128, 75}, {2, 9, 6, 2, 10, 4}, {1, 40, 12, 3, 64, 8}};

static void attend(const Kernels& kernels, const AttentionShape& s, CacheType type, Hash* hash) {
  const size_t room = s.past + s.count, rows = s.batch * s.kv_heads * room, cache = rows * s.d;
  Random random = {s.d};
  Guarded<float> query(s.batch * s.count * s.heads * s.d), y(query.size());
  Guarded<float> key(s.batch * s.count * s.kv_heads * s.d), value(key.size());
  Guarded<float> cos_cache(room * s.d / 2), sin_cache(room * s.d / 2);
  Guarded<float> keys(cache), values(cache), key_scales(rows), value_scales(rows);
  for (Guarded<float>* x : {&query, &key, &value, &cos_cache, &sin_cache, &keys, &values}) {
    for (size_t i = 0; i < x->size(); i++) (*x)[i] = 2 * random.real();
  }
  if (type == CacheType::kFloat16) {
    uint16_t* halves[2] = {reinterpret_cast<uint16_t*>(keys.data),
                           reinterpret_cast<uint16_t*>(values.data)};
    for (size_t i = 0; i < 2 * cache; i++) {  // any sign, size below 2
      halves[i % 2][i / 2] = static_cast<uint16_t>(random.next() & 0xbfff);
    }
  }
  if (type >= CacheType::kInt8) {
    for (Guarded<float>* x : {&keys, &values}) {
      for (size_t i = 0; i < cache; i++) {  // int4 takes the first of them
        reinterpret_cast<int8_t*>(x->data)[i] = static_cast<int8_t>(random.next());
      }
    }
    for (Guarded<float>* x : {&key_scales, &value_scales}) {
      for (size_t i = 0; i < rows; i++) (*x)[i] = (random.real() + 1) / 128;
    }
  }
  const int32_t last[2] = {static_cast<int32_t>(room) - 1, static_cast<int32_t>(room) - 3};
  Attention op = {};
  op.batch = s.batch;
  op.count = s.count;
  op.heads = s.heads;
  op.kv_heads = s.kv_heads;
  op.d = s.d;
  op.past = op.room = room;
  op.query = query.data;
  op.key = key.data;
  op.value = value.data;
  op.query_stride = s.heads * s.d;
  op.kv_stride = s.kv_heads * s.d;
  op.cache = type;
  op.past_key = op.present_key = keys.data;
  op.past_value = op.present_value = values.data;
  op.last = last;
  op.cos = cos_cache.data;
  op.sin = sin_cache.data;
  op.y = y.data;
  op.past_key_scale = op.present_key_scale = key_scales.data;
  op.past_value_scale = op.present_value_scale = value_scales.data;
  Guarded<uint8_t> scratch(padded(attention_scratch(op), 64) + 64);
  attention(kernels, op, scratch.data, kBackwards);
  const size_t bytes = rows * row_bytes(type, s.d);
  hash->add(&y);
  hash->add(keys.data, bytes);
  hash->add(values.data, bytes);
  if (type < CacheType::kInt8) return;
  hash->add(&key_scales);
  hash->add(&value_scales);
}

void hash_attention(const Kernels& kernels, Hash* hash) {
  for (const AttentionShape& shape : kAttention) {
    for (CacheType type : {CacheType::kFloat32, CacheType::kFloat16}) {
      attend(kernels, shape, type, hash);
    }
  }
}

void hash_attention_int8(const Kernels& kernels, Hash* hash) {
  for (const AttentionShape& shape : kAttention) attend(kernels, shape, CacheType::kInt8, hash);
}

void hash_attention_int4(const Kernels& kernels, Hash* hash) {
  for (const AttentionShape& shape : kAttention) attend(kernels, shape, CacheType::kInt4, hash);
}
