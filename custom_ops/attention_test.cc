// Attention: every kernel that this CPU offers against scalar, scalar against the formula in
// float64, and the operator with threads, in place and apart.
#include "attention.h"

#include <math.h>

#include "dispatch.h"
#include "kernels/check.h"
#include "test_pools.h"

using namespace bitnet;

int failures = 0;
char current_case[256] = "start";

static bool same_bits(float a, float b) { return memcmp(&a, &b, 4) == 0 || (isnan(a) && isnan(b)); }

static const size_t kWidths[] = {2, 6, 8, 10, 14, 32, 36, 40, 64, 80, 100, 128, 130};
static const size_t kPositions[] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 64, 65, 140};

static void fill(Guarded<float>* x, Random* random, float size) {
  for (size_t i = 0; i < x->size(); i++) (*x)[i] = random->real() * size;
}

// rows heads with d elements, positions keys and values; from `bad` on, one of each is not finite.
static void check_kernels(const Kernel& kernel, size_t rows, size_t d, size_t positions, bool bad) {
  CASE("attend %s rows %zu d %zu positions %zu bad %d", kernel.name, rows, d, positions, bad);
  const Kernel& scalar = *find_kernel("scalar");
  Random random = {rows * 1000000 + d * 1000 + positions};
  const size_t padded = (d + kPadHead - 1) / kPadHead * kPadHead, stride = positions + 3;
  Guarded<float> k(positions * d), v(positions * d);
  Guarded<double> q(rows * padded);
  fill(&k, &random, 3);
  fill(&v, &random, 3);
  for (size_t r = 0; r < rows; r++) {
    for (size_t i = 0; i < padded; i++) q[r * padded + i] = i < d ? random.real() * 9 : 0.0;
  }
  if (bad) {
    k[random.below(k.size())] = random.below(2) ? NAN : INFINITY;
    v[random.below(v.size())] = random.below(2) ? NAN : -INFINITY;
  }
  const float untouched = 77.0f, root = sqrtf(static_cast<float>(d));
  Guarded<float> scores(rows * stride - 3), expected_scores(rows * stride - 3);
  for (size_t i = 0; i < scores.size(); i++) scores[i] = expected_scores[i] = untouched;
  kernel.attend_scores(rows, positions, d, q.data, k.data, root, scores.data, stride);
  scalar.attend_scores(rows, positions, d, q.data, k.data, root, expected_scores.data, stride);
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
    kernel.attend_values(rows, positions, width, d, weights.data, stride, v.data, y.data, s_stride);
    scalar.attend_values(rows, positions, width, d, weights.data, stride, v.data, expected.data,
                         s_stride);
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

struct Shape {
  size_t batch, count, heads, kv_heads, d, past, room;
  int32_t last[3];
};

// The operator with `kernel` and `pool`, in place where `in_place`, against plain float64 loops.
static void check_operator(const Kernel& kernel, const Shape& s, const Pool& pool, bool in_place) {
  CASE("attention %s batch %zu count %zu heads %zu/%zu d %zu past %zu room %zu in place %d",
       kernel.name, s.batch, s.count, s.heads, s.kv_heads, s.d, s.past, s.room, in_place);
  Random random = {s.batch + 10 * s.count + 100 * s.heads + 10000 * s.d};
  const size_t positions = s.room + s.count, half = s.d / 2, group = s.heads / s.kv_heads;
  Guarded<float> query(s.batch * s.count * s.heads * s.d),
      key(s.batch * s.count * s.kv_heads * s.d), value(key.size()),
      past_key(s.batch * s.kv_heads * s.past * s.d), past_value(past_key.size()),
      present_key(s.batch * s.kv_heads * s.room * s.d), present_value(present_key.size()),
      cos_cache(positions * half), sin_cache(positions * half), y(query.size());
  for (Guarded<float>* x : {&query, &key, &value, &past_key, &past_value}) fill(x, &random, 2);
  for (size_t i = 0; i < cos_cache.size(); i++) {
    cos_cache[i] = random.real();
    sin_cache[i] = random.real();
  }
  Guarded<float> k(present_key.size()), v(present_key.size());  // what the caches must hold
  for (size_t head = 0; head < s.batch * s.kv_heads; head++) {
    for (size_t i = 0; i < s.room * s.d; i++) {
      const bool old = i < s.past * s.d;
      k[head * s.room * s.d + i] = old ? past_key[head * s.past * s.d + i] : 0;
      v[head * s.room * s.d + i] = old ? past_value[head * s.past * s.d + i] : 0;
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
                  past_key.data,
                  past_value.data,
                  s.last,
                  cos_cache.data,
                  sin_cache.data,
                  y.data,
                  present_key.data,
                  present_value.data};
  if (in_place) {
    op.present_key = past_key.data;
    op.present_value = past_value.data;
  }
  const auto rotated = [&](const float* x, size_t position, size_t i) {
    const float *c = cos_cache.data + position * half, *sine = sin_cache.data + position * half;
    return i < half ? x[i] * c[i] - x[half + i] * sine[i]
                    : x[i] * c[i - half] + x[i - half] * sine[i - half];
  };
  Guarded<uint8_t> scratch(attention_scratch(op) / 64 * 64 + 64);
  attention(kernel, op, scratch.data, pool);
  for (size_t b = 0; b < s.batch; b++) {
    for (size_t i = 0; i < s.count; i++) {
      for (size_t g = 0; g < s.kv_heads; g++) {
        const size_t from = ((b * s.count + i) * s.kv_heads + g) * s.d;
        const size_t position = past_length(op, b) + i;
        const size_t to = ((b * s.kv_heads + g) * s.room + position) * s.d;
        for (size_t e = 0; e < s.d; e++) {
          k[to + e] = rotated(key.data + from, position, e);
          v[to + e] = value[from + e];
        }
      }
    }
  }
  CHECK(memcmp(op.present_key, k.data, k.size() * 4) == 0);
  CHECK(memcmp(op.present_value, v.data, v.size() * 4) == 0);
  Guarded<double> scores(s.room);
  for (size_t row = 0; row < s.batch * s.count * s.heads; row++) {
    const size_t h = row % s.heads, i = row / s.heads % s.count, b = row / s.heads / s.count;
    const size_t seen = past_length(op, b) + i + 1;
    const float* keys = k.data + (b * s.kv_heads + h / group) * s.room * s.d;
    const float* values = v.data + (b * s.kv_heads + h / group) * s.room * s.d;
    double most = -INFINITY, sum = 0;
    for (size_t t = 0; t < seen; t++) {
      scores[t] = 0;
      for (size_t e = 0; e < s.d; e++) {
        scores[t] += static_cast<double>(rotated(query.data + row * s.d, seen - 1, e)) *
                     static_cast<double>(keys[t * s.d + e]);
      }
      scores[t] /= sqrt(static_cast<double>(s.d));
      most = fmax(most, scores[t]);
    }
    for (size_t t = 0; t < seen; t++) sum += exp(scores[t] - most);
    for (size_t e = 0; e < s.d; e++) {
      double mean = 0;
      for (size_t t = 0; t < seen; t++) {
        mean += exp(scores[t] - most) / sum * static_cast<double>(values[t * s.d + e]);
      }
      // |scores| stay below 64, float32 rounds them by 4e-6, and values stay below 4.
      CHECK(fabs(static_cast<double>(y[row * s.d + e]) - mean) < 2e-5);
    }
  }
}

int main() {
  const Kernel** list;
  const size_t count = offered_kernels(&list);
  const Shape shapes[] = {{1, 1, 1, 1, 2, 0, 1, {0}},        {1, 1, 20, 5, 128, 48, 48, {40}},
                          {1, 7, 6, 2, 10, 9, 16, {15}},     {3, 1, 4, 4, 8, 20, 20, {3, 19, 0}},
                          {2, 9, 10, 2, 100, 0, 9, {8, 4}},  {1, 40, 12, 3, 64, 8, 48, {47}},
                          {2, 3, 14, 2, 36, 10, 12, {11, 5}}};
  for (size_t i = 0; i < count; i++) {
    const Kernel& kernel = *list[i];
    test_exponential(kernel);
    for (size_t d : kWidths) {
      for (size_t positions : kPositions) {
        for (size_t rows = 1; rows <= kAttendRows; rows++) {
          check_kernels(kernel, rows, d, positions, false);
          check_kernels(kernel, rows, d, positions, true);
        }
      }
    }
    for (const Shape& shape : shapes) {
      for (const Pool& pool : {kBackwards, kThreads}) {
        check_operator(kernel, shape, pool, false);
        if (shape.past == shape.room) check_operator(kernel, shape, pool, true);
      }
    }
  }
  printf("%d failures\n", failures);
  return failures != 0;
}
