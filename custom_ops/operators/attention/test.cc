// Attention over float32 and float16 caches: every kernel, with threads, in place and with separate
// memory, against scalar and against plain float64.
#include "operators/attention/check.h"
#include "testing/attend.h"
#include "testing/pools.h"

using namespace bitnet;

namespace {

struct Shape {
  size_t batch, count, heads, kv_heads, d, past, room;
  int32_t last[3];
  size_t window = 0;
};

// The operator on joined queries, keys and values, against scalar on separate ones without threads,
// and against plain float64 loops.
template <typename Cache>
void check_operator(const Kernels& kernels, const Shape& s, const Pool& pool, bool in_place) {
  CASE(
      "attention %s float%zu batch %zu count %zu heads %zu/%zu d %zu past %zu room %zu window %zu "
      "%s",
      kernels.name, 8 * sizeof(Cache), s.batch, s.count, s.heads, s.kv_heads, s.d, s.past, s.room,
      s.window, in_place ? "in place" : "separate");
  Random random = {s.batch + 10 * s.count + 100 * s.heads + 10000 * s.d};
  const size_t positions = s.room + s.count, half = s.d / 2, group = s.heads / s.kv_heads;
  Guarded<float> query(s.batch * s.count * s.heads * s.d),
      key(s.batch * s.count * s.kv_heads * s.d), value(key.size()), cos_cache(positions * half),
      sin_cache(positions * half), y(query.size()), expected(query.size());
  Guarded<Cache> past_key(s.batch * s.kv_heads * s.past * s.d), past_value(past_key.size()),
      present_key(s.batch * s.kv_heads * s.room * s.d), present_value(present_key.size());
  for (Guarded<float>* x : {&query, &key, &value}) fill(x, &random, 2);
  for (Guarded<Cache>* cache : {&past_key, &past_value}) {
    for (size_t i = 0; i < cache->size(); i++) put(random.real() * 2, cache->data + i);
  }
  for (size_t i = 0; i < cos_cache.size(); i++) {
    cos_cache[i] = random.real();
    sin_cache[i] = random.real();
  }
  Guarded<Cache> k(present_key.size()), v(present_key.size());  // what the caches must hold
  for (size_t head = 0; head < s.batch * s.kv_heads; head++) {
    for (size_t i = 0; i < s.room * s.d; i++) {
      const bool old = i < s.past * s.d;
      k[head * s.room * s.d + i] = old ? past_key[head * s.past * s.d + i] : Cache();
      v[head * s.room * s.d + i] = old ? past_value[head * s.past * s.d + i] : Cache();
    }
  }
  Attention op = {.batch = s.batch,
                  .count = s.count,
                  .heads = s.heads,
                  .kv_heads = s.kv_heads,
                  .d = s.d,
                  .past = s.past,
                  .room = s.room,
                  .query = query.data,
                  .key = key.data,
                  .value = value.data,
                  .query_stride = s.heads * s.d,
                  .kv_stride = s.kv_heads * s.d,
                  .cache = sizeof(Cache) == 2 ? CacheType::kFloat16 : CacheType::kFloat32,
                  .past_key = past_key.data,
                  .past_value = past_value.data,
                  .last = s.last,
                  .cos = cos_cache.data,
                  .sin = sin_cache.data,
                  .window = s.window,
                  .y = expected.data,
                  .present_key = present_key.data,
                  .present_value = present_value.data};
  Guarded<uint8_t> scratch(attention_scratch(op) / 64 * 64 + 64);
  attention(*find_kernels("scalar"), op, scratch.data, kBackwards);
  Guarded<float> qkv(s.batch * s.count * joined_width(op));
  join(&op, qkv.data);
  op.y = y.data;
  if (in_place) {
    op.present_key = past_key.data;
    op.present_value = past_value.data;
  }
  attention(kernels, op, scratch.data, pool);
  for (size_t i = 0; i < y.size(); i++) CHECK(same_bits(y[i], expected[i]));
  for (size_t b = 0; b < s.batch; b++) {
    for (size_t i = 0; i < s.count; i++) {
      for (size_t g = 0; g < s.kv_heads; g++) {
        const size_t from = ((b * s.count + i) * s.kv_heads + g) * s.d;
        const size_t position = past_length(op, b) + i;
        const size_t to = ((b * s.kv_heads + g) * s.room + position) * s.d;
        for (size_t e = 0; e < s.d; e++) {
          put(rotated(op, key.data + from, position, e), k.data + to + e);
          put(value[from + e], v.data + to + e);
        }
      }
    }
  }
  CHECK(memcmp(op.present_key, k.data, k.size() * sizeof(Cache)) == 0);
  CHECK(memcmp(op.present_value, v.data, v.size() * sizeof(Cache)) == 0);
  Guarded<double> scores(s.room), q(s.d), keys(k.size()), values(v.size());
  for (size_t i = 0; i < k.size(); i++) {
    keys[i] = get(k[i]);
    values[i] = get(v[i]);
  }
  for (size_t row = 0; row < s.batch * s.count * s.heads; row++) {
    const size_t h = row % s.heads, i = row / s.heads % s.count, b = row / s.heads / s.count;
    const size_t seen = past_length(op, b) + i + 1;
    const size_t least = s.window && s.window < seen ? seen - s.window : 0;
    const size_t first = (b * s.kv_heads + h / group) * s.room * s.d;
    for (size_t e = 0; e < s.d; e++) {
      q[e] = static_cast<double>(rotated(op, query.data + row * s.d, seen - 1, e));
    }
    double most = -INFINITY, sum = 0;
    for (size_t t = least; t < seen; t++) {
      scores[t] = 0;
      for (size_t e = 0; e < s.d; e++) scores[t] += q[e] * keys[first + t * s.d + e];
      scores[t] /= sqrt(static_cast<double>(s.d));
      most = fmax(most, scores[t]);
    }
    for (size_t t = least; t < seen; t++) {
      scores[t] = exp(scores[t] - most);
      sum += scores[t];
    }
    for (size_t e = 0; e < s.d; e++) {
      double mean = 0;
      for (size_t t = least; t < seen; t++) {
        mean += scores[t] / sum * values[first + t * s.d + e];
      }
      // |scores| stay below 64, float32 rounds them by 4e-6, and values stay below 4.
      CHECK(fabs(static_cast<double>(y[row * s.d + e]) - mean) < 2e-5);
    }
  }
}

constexpr Shape kShapes[] = {
    {1, 1, 1, 1, 2, 0, 1, {0}},
    {1, 1, 20, 5, 128, 48, 48, {40}},
    {1, 7, 6, 2, 10, 9, 16, {15}},
    {3, 1, 4, 4, 8, 20, 20, {3, 19, 0}},
    {2, 9, 10, 2, 100, 0, 9, {8, 4}},
    {1, 40, 12, 3, 64, 8, 48, {47}},
    {2, 3, 14, 2, 36, 10, 12, {11, 5}},
    {1, 1, 2, 1, 4096, 5, 5, {4}},
    {1, 1, 6, 1, 258, 33, 33, {32}},
    {1, 1, 10, 5, 6, 600, 600, {590}},     // four jobs and one to share
    {1, 1, 4, 2, 8, 300, 300, {290}, 65},  // of windows: one position, many, all in one span
    {1, 70, 4, 2, 8, 150, 220, {219}, 64},
    {2, 5, 4, 1, 6, 130, 135, {134, 60}, 1},
    {1, 3, 20, 5, 16, 70, 73, {72}, 200},
    {1, 1, 2, 1, 4, 1000, 1000, {999}, 400}};

template <typename Cache>
void check_shapes() {
  const Kernels** list;
  const size_t count = tested_kernels(&list);
  for (size_t i = 0; i < count; i++) {
    for (const Shape& shape : kShapes) {
      for (const Pool& pool : pools()) {
        check_operator<Cache>(*list[i], shape, pool, false);
        if (shape.past == shape.room) check_operator<Cache>(*list[i], shape, pool, true);
      }
    }
  }
}

}  // namespace

TEST(attention, float32) { check_shapes<float>(); }

TEST(attention, float16) { check_shapes<uint16_t>(); }
