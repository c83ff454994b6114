// Grouped-query attention with rotary positions and a KV cache, without ONNX Runtime.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "platform/pool.h"

namespace bitnet {

// The type of the cached keys and values. int8: a row (one position of one head) of codes and a
// float32 scale, by which the codes are multiplied. int4: such a row of the turned key or value,
// with each 16 codes rounded to multiples of their own and packed: see attend_unpack_int4.h.
enum class CacheType { kFloat32, kFloat16, kInt8, kInt4 };

// Row b has past_length = max(0, last[b] + 1 - count) positions in the cache. Its new position i
// has the number past_length + i and attends to all positions up to its own.
struct Attention {
  size_t batch, count;        // rows, new positions of each; both at least 1
  size_t heads, kv_heads, d;  // heads is a multiple of kv_heads, d even
  size_t past, room;          // positions that the past and the present caches hold; past <= room
  const float* query;         // [batch, count, heads * d]
  const float *key, *value;   // [batch, count, kv_heads * d]
  size_t query_stride;        // floats from one new position's query to the next one's
  size_t kv_stride;           // the same of key and of value
  CacheType cache;            // int8 and int4: d at most kAttendDepth
  const void *past_key, *past_value;  // [batch, kv_heads, past, d], int4: bytes of packed rows
  const int32_t* last;                // [batch], the number of the last position that counts
  const float *cos, *sin;             // [positions, d / 2]
  size_t window = 0;   // the positions up to its own that a new one attends to; 0: all
  float* y = nullptr;  // [batch, count, heads * d]
  // [batch, kv_heads, room, d]: the past, or other memory
  void *present_key = nullptr, *present_value = nullptr;
  // int8 and int4 alone: [batch, kv_heads, past] and [batch, kv_heads, room]
  const float *past_key_scale = nullptr, *past_value_scale = nullptr;
  float *present_key_scale = nullptr, *present_value_scale = nullptr;
};

inline size_t past_length(const Attention& op, size_t b) {
  const size_t filled = static_cast<size_t>(op.last[b]) + 1;
  return filled > op.count ? filled - op.count : 0;
}

// Bytes of one position of one head in a cache.
size_t row_bytes(CacheType cache, size_t d);
// Bytes of scratch, aligned to 64, that attention needs.
size_t attention_scratch(const Attention& op);

// The present caches get the past ones, zeros after them, and the new keys and values; keys are
// rotated by halves: (x1 cos - x2 sin, x2 cos + x1 sin). Scores are divided by sqrt(d). Attention
// is to what the caches hold, which is rounded where they are not float32. Values are summed in the
// order of the positions over each 64 of them, and then these sums are.
// int8: keys, queries and the weights of values are integers by absmax, the weights over a span of
// positions each. model/exact.py has the formulas. int4: the same with other rows and in another
// basis; model/int4.py has the formulas.
void attention(const Kernels& kernels, const Attention& op, void* scratch, const Pool& pool);

}  // namespace bitnet
