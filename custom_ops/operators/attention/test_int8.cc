// Attention over an int8 or int4 cache: every kernel, with threads, in place and with separate
// memory, against scalar and against plain float64 over what its cache stands for.
#include "operators/attention/check.h"
#include "platform/sizes.h"
#include "testing/pools.h"

using namespace bitnet;

namespace {

struct Shape {
  size_t batch, count, heads, kv_heads, d, past, room;
  int32_t last[3];
  size_t window = 0;
};

struct Cache {
  Guarded<uint8_t> key, value;
  Guarded<float> key_scale, value_scale;
  Cache(size_t rows, size_t row)
      : key(rows * row), value(rows * row), key_scale(rows), value_scale(rows) {}
  void fill(Random* random) {
    for (size_t i = 0; i < key.size(); i++) {
      key[i] = static_cast<uint8_t>(random->next());
      value[i] = static_cast<uint8_t>(random->next());
    }
    for (size_t i = 0; i < key_scale.size(); i++) {
      key_scale[i] = fabsf(random->real()) / 64;
      value_scale[i] = fabsf(random->real()) / 64;
    }
  }
};

void as_past(Attention* op, const Cache& cache) {
  op->past_key = cache.key.data;
  op->past_value = cache.value.data;
  op->past_key_scale = cache.key_scale.data;
  op->past_value_scale = cache.value_scale.data;
}

void as_present(Attention* op, const Cache& cache) {
  op->present_key = cache.key.data;
  op->present_value = cache.value.data;
  op->present_key_scale = cache.key_scale.data;
  op->present_value_scale = cache.value_scale.data;
}

size_t basis_of(const Attention& op) {
  size_t size = 1;
  while (op.cache == CacheType::kInt4 && op.d % (2 * size) == 0) size *= 2;
  return size;
}

// x times Hadamard's matrix, block by block.
template <typename Real>
void turned(const Attention& op, Real* x) {
  Real y[kAttendDepth];
  for (size_t half = 1; half < basis_of(op); half *= 2) {
    for (size_t i = 0; i < op.d; i++) y[i] = i & half ? x[i - half] - x[i] : x[i] + x[i + half];
    memcpy(x, y, op.d * sizeof *x);
  }
}

// What the caches must hold of a new row x.
void quantize(const Attention& op, float* x, uint8_t* row, float* scale) {
  turned(op, x);
  float most = 1e-5f;
  for (size_t i = 0; i < op.d; i++) most = fmaxf(most, fabsf(x[i]));
  *scale = 1.0f / (127.0f / most);
  int codes[kAttendDepth + kCacheBlock] = {0};
  for (size_t i = 0; i < op.d; i++) codes[i] = static_cast<int>(lrintf(x[i] * (127.0f / most)));
  if (op.cache == CacheType::kInt8) {
    for (size_t i = 0; i < op.d; i++) row[i] = static_cast<uint8_t>(codes[i]);
    return;
  }
  memset(row, 0, row_bytes(op.cache, op.d));
  for (size_t i = 0; i < padded(op.d, kCacheBlock); i++) {
    const size_t group = i / kCacheGroup * kCacheGroup, shift = i / kCacheGroup % 2 * 4;
    uint8_t* block = row + i / kCacheBlock * kCacheBytes;
    int peak = 0, times = 2;
    for (size_t j = group; j < group + kCacheGroup; j++)
      peak = abs(codes[j]) > peak ? abs(codes[j]) : peak;
    while (2 * peak >= 15 * times) times++;  // multiples of up to 7.5 round to 7
    const long code = lrint(codes[i] / static_cast<double>(times));
    block[i % kCacheGroup] |= static_cast<uint8_t>((code + 8) << shift);
    if (i % kCacheGroup == 0) block[kCacheGroup] |= static_cast<uint8_t>((times - 2) << shift);
  }
}

// What a row stands for, without its scale.
void held_by(const Attention& op, const uint8_t* row, double* x) {
  for (size_t i = 0; i < op.d; i++) {
    const size_t shift = i / kCacheGroup % 2 * 4;
    const uint8_t* block = row + i / kCacheBlock * kCacheBytes;
    const int code = (block[i % kCacheGroup] >> shift & 15) - 8;
    x[i] = op.cache == CacheType::kInt8
               ? static_cast<int8_t>(row[i])
               : fmax(code * ((block[kCacheGroup] >> shift & 15) + 2), -128);
  }
  turned(op, x);
  for (size_t i = 0; i < op.d; i++) x[i] /= static_cast<double>(basis_of(op));
}

void check_operator(const Kernels& kernels, CacheType type, const Shape& s, const Pool& pool,
                    bool in_place) {
  CASE("attention %s int%d batch %zu count %zu heads %zu/%zu d %zu past %zu room %zu window %zu %s",
       kernels.name, type == CacheType::kInt8 ? 8 : 4, s.batch, s.count, s.heads, s.kv_heads, s.d,
       s.past, s.room, s.window, in_place ? "in place" : "separate");
  Random random = {s.batch + 10 * s.count + 100 * s.heads + 10000 * s.d};
  const size_t positions = s.room + s.count, half = s.d / 2, group = s.heads / s.kv_heads;
  Guarded<float> query(s.batch * s.count * s.heads * s.d),
      key(s.batch * s.count * s.kv_heads * s.d), value(key.size()), cos_cache(positions * half),
      sin_cache(positions * half), y(query.size()), expected(query.size());
  for (Guarded<float>* x : {&query, &key, &value}) {
    for (size_t i = 0; i < x->size(); i++) x->data[i] = random.real() * 2;
  }
  for (size_t i = 0; i < s.d; i++) value[i] = 0;  // one row of zeros
  for (size_t i = 0; i < cos_cache.size(); i++) {
    cos_cache[i] = random.real();
    sin_cache[i] = random.real();
  }
  const size_t bytes = row_bytes(type, s.d);
  Cache past(s.batch * s.kv_heads * s.past, bytes), present(s.batch * s.kv_heads * s.room, bytes),
      held(s.batch * s.kv_heads * s.room, bytes);
  past.fill(&random);
  Attention op = {};
  op.batch = s.batch;
  op.count = s.count;
  op.heads = s.heads;
  op.kv_heads = s.kv_heads;
  op.d = s.d;
  op.past = s.past;
  op.room = s.room;
  op.query = query.data;
  op.key = key.data;
  op.value = value.data;
  op.query_stride = s.heads * s.d;
  op.kv_stride = s.kv_heads * s.d;
  op.cache = type;
  op.last = s.last;
  op.cos = cos_cache.data;
  op.sin = sin_cache.data;
  op.window = s.window;
  op.y = expected.data;
  as_past(&op, past);
  as_present(&op, present);
  for (size_t row = 0; row < s.batch * s.kv_heads * s.room; row++) {
    const size_t from = row / s.room * s.past + row % s.room;
    const bool old = row % s.room < s.past;
    held.key_scale[row] = old ? past.key_scale[from] : 0;
    held.value_scale[row] = old ? past.value_scale[from] : 0;
    for (size_t i = 0; i < bytes; i++) {
      held.key[row * bytes + i] = old ? past.key[from * bytes + i] : uint8_t{0};
      held.value[row * bytes + i] = old ? past.value[from * bytes + i] : uint8_t{0};
    }
  }
  for (size_t i = 0; i < s.batch * s.count * s.kv_heads; i++) {
    const size_t g = i % s.kv_heads, b = i / s.kv_heads / s.count;
    const size_t position = past_length(op, b) + i / s.kv_heads % s.count;
    const size_t row = (b * s.kv_heads + g) * s.room + position;
    float x[kAttendDepth];
    for (size_t e = 0; e < s.d; e++) x[e] = rotated(op, key.data + i * s.d, position, e);
    quantize(op, x, held.key.data + row * bytes, &held.key_scale[row]);
    memcpy(x, value.data + i * s.d, s.d * sizeof *x);
    quantize(op, x, held.value.data + row * bytes, &held.value_scale[row]);
  }

  Guarded<uint8_t> scratch(attention_scratch(op) / 64 * 64 + 64);
  attention(*find_kernels("scalar"), op, scratch.data, kBackwards);
  Guarded<float> qkv(s.batch * s.count * joined_width(op));
  join(&op, qkv.data);
  op.y = y.data;
  if (in_place) as_present(&op, past);
  attention(kernels, op, scratch.data, pool);
  for (size_t i = 0; i < y.size(); i++) CHECK(same_bits(y[i], expected[i]));
  CHECK(memcmp(op.present_key, held.key.data, held.key.size()) == 0);
  CHECK(memcmp(op.present_value, held.value.data, held.value.size()) == 0);
  for (size_t row = 0; row < held.key_scale.size(); row++) {
    CHECK(op.present_key_scale[row] == held.key_scale[row]);
    CHECK(op.present_value_scale[row] == held.value_scale[row]);
  }

  Guarded<double> scores(s.room);
  for (size_t row = 0; row < s.batch * s.count * s.heads; row++) {
    const size_t h = row % s.heads, i = row / s.heads % s.count, b = row / s.heads / s.count;
    const size_t seen = past_length(op, b) + i + 1, first = (b * s.kv_heads + h / group) * s.room;
    const size_t least = s.window && s.window < seen ? seen - s.window : 0;
    double most = -INFINITY, sum = 0;
    for (size_t t = least; t < seen; t++) {
      scores[t] = 0;
      double k[kAttendDepth];
      held_by(op, held.key.data + (first + t) * bytes, k);
      for (size_t e = 0; e < s.d; e++) {
        scores[t] += static_cast<double>(rotated(op, query.data + row * s.d, seen - 1, e)) * k[e];
      }
      scores[t] *= static_cast<double>(held.key_scale[first + t]) / sqrt(static_cast<double>(s.d));
      most = fmax(most, scores[t]);
    }
    for (size_t t = least; t < seen; t++) sum += exp(scores[t] - most);
    double mean[kAttendDepth] = {0}, size = 0;
    for (size_t t = least; t < seen; t++) {
      const double share =
          exp(scores[t] - most) / sum * static_cast<double>(held.value_scale[first + t]);
      double v[kAttendDepth];
      held_by(op, held.value.data + (first + t) * bytes, v);
      for (size_t e = 0; e < s.d; e++) mean[e] += share * v[e];
      size += share * 127;
    }
    // The weights err by 1 / 1016 at most of the largest values' mean (model/exact.py); scores
    // below 64 by some 1e-4.
    for (size_t e = 0; e < s.d; e++) {
      CHECK(fabs(static_cast<double>(y[row * s.d + e]) - mean[e]) <= size / 500 + 1e-6);
    }
  }
}

constexpr Shape kShapes[] = {{1, 1, 1, 1, 2, 0, 1, {0}},
                             {1, 1, 20, 5, 128, 48, 48, {40}},
                             {1, 7, 6, 2, 10, 9, 16, {15}},
                             {3, 1, 4, 4, 8, 20, 20, {3, 19, 0}},
                             {2, 9, 10, 2, 100, 0, 9, {8, 4}},
                             {1, 40, 12, 3, 64, 8, 48, {47}},
                             {2, 3, 14, 2, 36, 10, 12, {11, 5}},
                             {1, 1, 2, 1, 512, 5, 5, {4}},
                             {1, 1, 6, 1, 258, 33, 33, {32}},
                             {1, 1, 8, 2, 64, 200, 200, {199}},
                             {1, 30, 8, 2, 16, 180, 180, {170}},
                             {1, 1, 10, 5, 6, 600, 600, {590}},  // four jobs and one to share
                             {1, 1, 4, 2, 8, 300, 300, {290}, 65},
                             {1, 70, 4, 2, 8, 150, 220, {219}, 64},
                             {2, 5, 4, 1, 6, 130, 135, {134, 60}, 1},
                             {1, 1, 2, 1, 4, 1000, 1000, {999}, 400}};

}  // namespace

TEST(attention, integers) {
  const Kernels** list;
  const size_t count = tested_kernels(&list);
  for (size_t i = 0; i < count; i++) {
    for (const Shape& shape : kShapes) {
      for (const CacheType type : {CacheType::kInt8, CacheType::kInt4}) {
        for (const Pool& pool : pools()) {
          check_operator(*list[i], type, shape, pool, false);
          if (shape.past == shape.room) check_operator(*list[i], type, shape, pool, true);
        }
      }
    }
  }
}
