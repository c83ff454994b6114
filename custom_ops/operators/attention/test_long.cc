// Attention to many positions: its scratch is limited, and its results are those of the scalar
// kernels called for one head after the other, with ==.
#include "operators/attention/check.h"
#include "operators/attention/jobs.h"
#include "testing/attend.h"
#include "testing/pools.h"

using namespace bitnet;

namespace {

constexpr size_t kLong = 131072;

// The scratch for a network with these heads.
size_t scratch_of(size_t batch, size_t count, size_t heads, size_t kv_heads, size_t d,
                  size_t positions) {
  std::vector<int32_t> last(batch, static_cast<int32_t>(positions) - 1);
  Attention op = {};
  op.batch = batch;
  op.count = count;
  op.heads = heads;
  op.kv_heads = kv_heads;
  op.d = d;
  op.last = last.data();
  return attention_scratch(op);
}

// Many positions of few elements: d is 2.
struct Long {
  size_t batch, count, heads, kv_heads, past;
  Guarded<float> query, key, value, cos_cache, sin_cache, y;
  Guarded<float> k, v, k_scale, v_scale;
  std::vector<int32_t> last;

  Long(size_t batch, size_t count, size_t heads, size_t kv_heads, size_t past)
      : batch(batch),
        count(count),
        heads(heads),
        kv_heads(kv_heads),
        past(past),
        query(batch * count * heads * 2),
        key(batch * count * kv_heads * 2),
        value(key.size()),
        cos_cache(past + count),
        sin_cache(past + count),
        y(query.size()),
        k(batch * kv_heads * (past + count) * 2),
        v(k.size()),
        k_scale(k.size() / 2),
        v_scale(k.size() / 2) {
    Random random = {past + count};
    for (Guarded<float>* x : {&query, &key, &value, &cos_cache, &sin_cache, &k, &v}) {
      fill(x, &random, 1);
    }
    for (size_t i = 0; i < k_scale.size(); i++) k_scale[i] = v_scale[i] = 0.01f;
    // The last of several rows is shorter, by more than a window.
    for (size_t b = 0; b < batch; b++) {
      last.push_back(static_cast<int32_t>(b + 1 < batch || b == 0 ? past + count : past / 5) - 1);
    }
  }

  Attention op(CacheType cache) {
    return {.batch = batch,
            .count = count,
            .heads = heads,
            .kv_heads = kv_heads,
            .d = 2,
            .past = past + count,
            .room = past + count,
            .query = query.data,
            .key = key.data,
            .value = value.data,
            .query_stride = heads * 2,
            .kv_stride = kv_heads * 2,
            .cache = cache,
            .past_key = k.data,
            .past_value = v.data,
            .last = last.data(),
            .cos = cos_cache.data,
            .sin = sin_cache.data,
            .y = y.data,
            .present_key = k.data,
            .present_value = v.data,
            .past_key_scale = k_scale.data,
            .past_value_scale = v_scale.data,
            .present_key_scale = k_scale.data,
            .present_value_scale = v_scale.data};
  }
};

// One head: the sums of its spans, added in order, over the sum of the weights.
struct Head {
  size_t positions;
  std::vector<float> scores;
  std::vector<double> weights;
  double total = 0, sums[kPadHead] = {0};

  explicit Head(size_t positions) : positions(positions), scores(positions), weights(positions) {}
  void softmax() { total = attend_softmax_scalar(positions, scores.data(), weights.data()); }
  template <typename Blend>
  void blend(const Blend& span) {
    for (size_t t = 0; t < positions; t += kSpan) {
      double one[kPadHead] = {0};
      span(t, smaller(kSpan, positions - t), one);
      for (size_t i = 0; i < 2; i++) sums[i] += one[i];
    }
  }
};

void head_float32(const Attention& op, const float* q, const void* keys, const void* values,
                  Head* head) {
  const float *k = static_cast<const float*>(keys), *v = static_cast<const float*>(values);
  double wide[kPadHead] = {0};
  for (size_t i = 0; i < 2; i++) wide[i] = get(rotated(op, q, head->positions - 1, i));
  attend_scores_scalar(1, head->positions, 2, wide, k, sqrtf(2), head->scores.data(), 0);
  head->softmax();
  head->blend([&](size_t t, size_t count, double* one) {
    attend_values_scalar(1, count, 2, 2, head->weights.data() + t, 0, v + 2 * t, one, 0);
  });
}

void head_int8(const Attention& op, const float* q, const void* keys, const void* values,
               const float* k_scale, const float* v_scale, Head* head) {
  const int8_t *k = static_cast<const int8_t*>(keys), *v = static_cast<const int8_t*>(values);
  float turned[2];
  int16_t codes[kPadInt8];
  for (size_t i = 0; i < 2; i++) turned[i] = rotated(op, q, head->positions - 1, i);
  const float factor = 1.0f / quantize_int16_scalar(turned, 2, kPadInt8, codes) / sqrtf(2);
  attend_scores_int8_scalar(1, head->positions, 2, codes, k, k_scale, &factor, k,
                            head->scores.data(), 0);
  head->softmax();
  head->blend([&](size_t t, size_t count, double* one) {
    int16_t p[kSpan];
    double scale;
    attend_weights_int8_scalar(1, count, head->weights.data() + t, 0, v_scale + t, p, &scale);
    attend_values_int8_scalar(1, count, 2, p, v + 2 * t, &scale, v, one, 0);
  });
}

void check_heads(const Attention& op) {
  const size_t group = op.heads / op.kv_heads;
  for (size_t row = 0; row < op.batch * op.count * op.heads; row++) {
    const size_t h = row % op.heads, i = row / op.heads % op.count, b = row / op.heads / op.count;
    const size_t first = (b * op.kv_heads + h / group) * op.room;
    Head head(past_length(op, b) + i + 1);
    if (op.cache == CacheType::kInt8) {
      head_int8(op, op.query + row * 2, static_cast<const int8_t*>(op.present_key) + first * 2,
                static_cast<const int8_t*>(op.present_value) + first * 2,
                op.present_key_scale + first, op.present_value_scale + first, &head);
    } else {
      head_float32(op, op.query + row * 2, static_cast<const float*>(op.present_key) + first * 2,
                   static_cast<const float*>(op.present_value) + first * 2, &head);
    }
    for (size_t e = 0; e < 2; e++) {
      CHECK(same_bits(op.y[row * 2 + e], static_cast<float>(head.sums[e] / head.total)));
    }
  }
}

void check(size_t batch, size_t count, size_t heads, size_t kv_heads, size_t past, bool split) {
  const Kernels** list;
  tested_kernels(&list);
  for (CacheType cache : {CacheType::kFloat32, CacheType::kInt8}) {
    Long made(batch, count, heads, kv_heads, past);
    const Attention op = made.op(cache);
    CHECK(plan_of(op).split == split);
    for (const Pool& pool : pools()) {
      CASE("attention %s cache %d batch %zu count %zu heads %zu/%zu past %zu", list[0]->name,
           static_cast<int>(cache), batch, count, heads, kv_heads, past);
      Guarded<uint8_t> scratch(padded(attention_scratch(op), 64));
      attention(*list[0], op, scratch.data, pool);
      check_heads(op);
    }
  }
}

}  // namespace

TEST(attention, scratch_is_limited) {
  for (size_t positions : {size_t{1}, size_t{512}, size_t{4096}, size_t{32768}, kLong}) {
    for (size_t count : {size_t{1}, size_t{2}, size_t{256}}) {
      if (count > positions) continue;
      CASE("%zu new of %zu positions", count, positions);
      CHECK(scratch_of(1, count, 20, 5, 128, positions) <= kScratchLimit);   // BitNet 2B-4T
      CHECK(scratch_of(1, count, 32, 8, 128, positions) <= kScratchLimit);   // Llama 8B
      CHECK(scratch_of(1, count, 64, 1, 256, positions) <= kScratchLimit);   // one KV head for all
      CHECK(scratch_of(1, count, 40, 40, 128, positions) <= kScratchLimit);  // one for each
      CHECK(scratch_of(64, count, 20, 5, 128, positions) <= kScratchLimit);
    }
  }
  // Without the limit it was 202 MB.
  CHECK(scratch_of(1, 256, 20, 5, 128, kLong) > kScratchLimit / 2);
  CHECK(scratch_of(1, 256, 4, 1, 128, 20 * kLong) > kScratchLimit);  // one job alone
}

// Windows of spans, for few jobs and for rows of different lengths; many jobs, some at a time; the
// heads of a KV head in pieces.
TEST(attention, many_positions) {
  const size_t many = kTestedK < kMaxK || emulated() ? kLong / 8 : kLong;
  check(1, 1, 1, 1, many - 1, true);
  check(3, 1, 2, 1, many / 3, true);
  check(1, 17, 2, 1, many, many == kLong);  // the longest ones need most of the scratch
  check(1, 1, 90, 1, many / 2, true);
  check(1, 20, 1, 1, many / 8, false);
}
