// Attention: every kernel that this CPU offers against scalar, scalar against the formula in
// float64, and the operator with threads, in place and apart; with caches of float32 and float16.
#include <math.h>

#include "kernels/dispatch.h"
#include "operators/attention/check.h"
#include "platform/float16.h"
#include "testing/check.h"
#include "testing/pools.h"

using namespace bitnet;

int failures = 0;
char current_case[256] = "start";

static bool same_bits(float a, float b) { return memcmp(&a, &b, 4) == 0 || (isnan(a) && isnan(b)); }

static const size_t kWidths[] = {2, 6, 8, 10, 14, 32, 36, 40, 64, 80, 100, 128, 130};
static const size_t kPositions[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 64, 65, 140};

// Elements 0 to count of a row of float16 as a kernel widens them: its sum of one position.
static void widen(const Kernel& kernel, size_t count, const uint16_t* halves, double* sums) {
  const double weight = 1;
  for (size_t i = 0; i < (count + kPadHead - 1) / kPadHead * kPadHead; i++) sums[i] = 0;
  kernel.attend_values_f16(1, 1, count, count, &weight, 1, halves, sums, 0);
}

static float widened(uint16_t half) {
  double sums[kPadHead];
  widen(*find_kernel("scalar"), 1, &half, sums);
  return static_cast<float>(sums[0]);
}

// What a cache of either type holds of x, and what it stands for.
static void put(float x, float* to) { *to = x; }
static void put(float x, uint16_t* to) { *to = round_f16(x); }
static double get(float stored) { return static_cast<double>(stored); }
static double get(uint16_t stored) { return static_cast<double>(widened(stored)); }

static AttendScores<float> scores_of(const Kernel& kernel, float) { return kernel.attend_scores; }
static AttendScores<uint16_t> scores_of(const Kernel& kernel, uint16_t) {
  return kernel.attend_scores_f16;
}
static AttendValues<float> values_of(const Kernel& kernel, float) { return kernel.attend_values; }
static AttendValues<uint16_t> values_of(const Kernel& kernel, uint16_t) {
  return kernel.attend_values_f16;
}

template <typename Cache>
static void fill(Guarded<Cache>* x, Random* random, float size) {
  for (size_t i = 0; i < x->size(); i++) put(random->real() * size, x->data + i);
}

// rows heads with d elements, positions keys and values; from `bad` on, one of each is not finite.
template <typename Cache>
static void check_kernels(const Kernel& kernel, size_t rows, size_t d, size_t positions, bool bad) {
  CASE("attend %s %zu bytes rows %zu d %zu positions %zu bad %d", kernel.name, sizeof(Cache), rows,
       d, positions, bad);
  const Kernel& scalar = *find_kernel("scalar");
  Random random = {rows * 1000000 + d * 1000 + positions};
  const size_t padded = (d + kPadHead - 1) / kPadHead * kPadHead, stride = positions + 3;
  Guarded<Cache> k(positions * d), v(positions * d);
  Guarded<double> q(rows * padded);
  fill(&k, &random, 3);
  fill(&v, &random, 3);
  for (size_t r = 0; r < rows; r++) {
    for (size_t i = 0; i < padded; i++) q[r * padded + i] = i < d ? random.real() * 9 : 0.0;
  }
  if (bad) {
    put(random.below(2) ? NAN : INFINITY, &k[random.below(k.size())]);
    put(random.below(2) ? NAN : -INFINITY, &v[random.below(v.size())]);
  }
  const float untouched = 77.0f, root = sqrtf(static_cast<float>(d));
  Guarded<float> scores(rows * stride - 3), expected_scores(rows * stride - 3);
  for (size_t i = 0; i < scores.size(); i++) scores[i] = expected_scores[i] = untouched;
  const auto score = [&](const Kernel& one, float* out) {
    scores_of(one, Cache())(rows, positions, d, q.data, k.data, root, out, stride);
  };
  score(kernel, scores.data);
  score(scalar, expected_scores.data);
  for (size_t i = 0; i < scores.size(); i++) CHECK(same_bits(scores[i], expected_scores[i]));

  Guarded<double> weights(rows * stride - 3), expected_weights(rows * stride - 3);
  for (size_t i = 0; i < weights.size(); i++) weights[i] = expected_weights[i] = 5.0;
  double sums[kAttendRows], expected_sums[kAttendRows];
  for (size_t r = 0; r < rows; r++) {
    sums[r] = kernel.attend_softmax(positions, scores.data + r * stride, weights.data + r * stride);
    expected_sums[r] = scalar.attend_softmax(positions, expected_scores.data + r * stride,
                                             expected_weights.data + r * stride);
    CHECK(sums[r] == expected_sums[r] || (bad && isnan(sums[r]) && isnan(expected_sums[r])));
  }
  for (size_t i = 0; !bad && i < weights.size(); i++) CHECK(weights[i] == expected_weights[i]);

  for (size_t width : {d, d / 2, d - 1}) {
    const size_t s_stride = padded + 5, size = (width + kPadHead - 1) / kPadHead * kPadHead;
    Guarded<double> y((rows - 1) * s_stride + size), expected(y.size());
    for (size_t i = 0; i < y.size(); i++) y[i] = expected[i] = random.real();
    const auto blend = [&](const Kernel& one, double* out) {
      values_of(one, Cache())(rows, positions, width, d, weights.data, stride, v.data, out,
                              s_stride);
    };
    blend(kernel, y.data);
    blend(scalar, expected.data);
    for (size_t r = 0; r < rows; r++) {
      for (size_t i = 0; i < s_stride && r * s_stride + i < y.size(); i++) {
        const double mine = y[r * s_stride + i], theirs = expected[r * s_stride + i];
        const bool both_nan = isnan(mine) && isnan(theirs);
        CHECK(mine == theirs || both_nan || (width <= i && i < size));
      }
    }
  }
}

// exp against libm's in float64: within 1 ulp of the true value over the whole range.
static void test_exponential(const Kernel& kernel) {
  CASE("exponential %s", kernel.name);
  constexpr size_t kCount = 100001;
  Guarded<float> scores(kCount);
  Guarded<double> weights(kCount);
  for (size_t i = 0; i < kCount; i++) scores[i] = 5.0f - 90.0f * static_cast<float>(i) / kCount;
  kernel.attend_softmax(kCount, scores.data, weights.data);
  for (size_t i = 0; i < kCount; i++) {
    const float x = scores[i] - 5.0f;
    const double truth = exp(fmax(static_cast<double>(x), -87.0));
    CHECK(fabs(weights[i] - truth) <= truth * 1.2e-7);
  }
  CHECK(weights[0] == 1.0);
}

// Every float16, as scalar has it.
static void test_widening(const Kernel& kernel) {
  CASE("widen %s", kernel.name);
  constexpr size_t kAll = 65536;
  Guarded<uint16_t> halves(kAll);
  Guarded<double> found(kAll), expected(kAll);
  for (size_t i = 0; i < kAll; i++) halves[i] = static_cast<uint16_t>(i);
  widen(kernel, kAll, halves.data, found.data);
  widen(*find_kernel("scalar"), kAll, halves.data, expected.data);
  for (size_t i = 0; i < kAll; i++) {
    CHECK(found[i] == expected[i] || (isnan(found[i]) && isnan(expected[i])));
  }
}

// Each float16 comes back; half-way to the next goes to the even one, and its neighbours do not.
static void test_rounding() {
  CASE("round to float16");
  CHECK(widened(0x0001) == 0x1p-24f && widened(0x0400) == 0x1p-14f && widened(0x3c00) == 1.0f);
  CHECK(widened(0x7bff) == 65504.0f && widened(0x7c00) == INFINITY && widened(0xc000) == -2.0f);
  for (uint16_t half = 0; half < 0x7c00; half++) {
    const uint16_t next = static_cast<uint16_t>(half + 1), even = half % 2 ? next : half;
    const float value = widened(half), above = next < 0x7c00 ? widened(next) : 65536.0f;
    const float middle = (value + above) / 2;  // 12 bits: exact
    CHECK(round_f16(value) == half && round_f16(-value) == (half | 0x8000));
    CHECK(round_f16(middle) == even && round_f16(-middle) == (even | 0x8000));
    CHECK(round_f16(nextafterf(middle, 0)) == half);
    CHECK(round_f16(nextafterf(middle, INFINITY)) == next);
  }
  for (float large : {65536.0f, 1e30f, INFINITY}) CHECK(round_f16(large) == 0x7c00);
  for (float small : {1e-45f, 1e-38f, 1e-8f}) CHECK(round_f16(-small) == 0x8000);
  CHECK((round_f16(NAN) & 0x7fff) > 0x7c00);
}

struct Shape {
  size_t batch, count, heads, kv_heads, d, past, room;
  int32_t last[3];
};

// The operator with `kernel` and `pool`, in place where `in_place`, on queries, keys and values
// side by side, against scalar without threads on each apart, and against plain float64 loops.
template <typename Cache>
static void check_operator(const Kernel& kernel, const Shape& s, const Pool& pool, bool in_place) {
  CASE("attention %s float%zu batch %zu count %zu heads %zu/%zu d %zu past %zu room %zu %s",
       kernel.name, 8 * sizeof(Cache), s.batch, s.count, s.heads, s.kv_heads, s.d, s.past, s.room,
       in_place ? "in place" : "apart");
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
  Attention op = {s.batch,
                  s.count,
                  s.heads,
                  s.kv_heads,
                  s.d,
                  s.past,
                  s.room,
                  query.data,
                  key.data,
                  value.data,
                  s.heads * s.d,
                  s.kv_heads * s.d,
                  sizeof(Cache) == 2 ? CacheType::kFloat16 : CacheType::kFloat32,
                  past_key.data,
                  past_value.data,
                  s.last,
                  cos_cache.data,
                  sin_cache.data,
                  expected.data,
                  present_key.data,
                  present_value.data,
                  nullptr,
                  nullptr,
                  nullptr,
                  nullptr};
  Guarded<uint8_t> scratch(attention_scratch(op) / 64 * 64 + 64);
  attention(*find_kernel("scalar"), op, scratch.data, kBackwards);
  Guarded<float> qkv(s.batch * s.count * joined_width(op));
  join(&op, qkv.data);
  op.y = y.data;
  if (in_place) {
    op.present_key = past_key.data;
    op.present_value = past_value.data;
  }
  attention(kernel, op, scratch.data, pool);
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
    const size_t first = (b * s.kv_heads + h / group) * s.room * s.d;
    for (size_t e = 0; e < s.d; e++) {
      q[e] = static_cast<double>(rotated(op, query.data + row * s.d, seen - 1, e));
    }
    double most = -INFINITY, sum = 0;
    for (size_t t = 0; t < seen; t++) {
      scores[t] = 0;
      for (size_t e = 0; e < s.d; e++) scores[t] += q[e] * keys[first + t * s.d + e];
      scores[t] /= sqrt(static_cast<double>(s.d));
      most = fmax(most, scores[t]);
    }
    for (size_t t = 0; t < seen; t++) {
      scores[t] = exp(scores[t] - most);
      sum += scores[t];
    }
    for (size_t e = 0; e < s.d; e++) {
      double mean = 0;
      for (size_t t = 0; t < seen; t++) {
        mean += scores[t] / sum * values[first + t * s.d + e];
      }
      // |scores| stay below 64, float32 rounds them by 4e-6, and values stay below 4.
      CHECK(fabs(static_cast<double>(y[row * s.d + e]) - mean) < 2e-5);
    }
  }
}

int main() {
  const Kernel** list;
  const size_t count = tested_kernels(&list);
  const Shape shapes[] = {{1, 1, 1, 1, 2, 0, 1, {0}},         {1, 1, 20, 5, 128, 48, 48, {40}},
                          {1, 7, 6, 2, 10, 9, 16, {15}},      {3, 1, 4, 4, 8, 20, 20, {3, 19, 0}},
                          {2, 9, 10, 2, 100, 0, 9, {8, 4}},   {1, 40, 12, 3, 64, 8, 48, {47}},
                          {2, 3, 14, 2, 36, 10, 12, {11, 5}}, {1, 1, 2, 1, 4096, 5, 5, {4}},
                          {1, 1, 6, 1, 258, 33, 33, {32}}};
  test_rounding();
  for (size_t i = 0; i < count; i++) {
    const Kernel& kernel = *list[i];
    test_exponential(kernel);
    test_widening(kernel);
    for (size_t d : kWidths) {
      for (size_t positions : kPositions) {
        for (size_t rows = 1; rows <= kAttendRows; rows++) {
          check_kernels<float>(kernel, rows, d, positions, false);
          check_kernels<uint16_t>(kernel, rows, d, positions, false);
          check_kernels<float>(kernel, rows, d, positions, true);
          check_kernels<uint16_t>(kernel, rows, d, positions, true);
        }
      }
    }
    for (const Shape& shape : shapes) {
      for (const Pool& pool : {kBackwards, kThreads}) {
        for (bool in_place : {false, true}) {
          if (in_place && shape.past != shape.room) continue;
          check_operator<float>(kernel, shape, pool, in_place);
          check_operator<uint16_t>(kernel, shape, pool, in_place);
        }
      }
    }
  }
  printf("%d failures\n", failures);
  return failures != 0;
}
