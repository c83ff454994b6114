// Speed of attention in a decode step of BitNet b1.58 2B-4T, by type of cache: microseconds of one
// thread for each KV head and its four heads. The types and the caches of 30 layers take turns, so
// that caches come from memory as in a step. Medians are printed.
//     attention_bench [kernel]
#include <stdlib.h>

#include "kernels/kernels.h"
#include "operators/attention/attention.h"
#include "platform/clock.h"
#include "testing/check.h"

using namespace bitnet;

int failures = 0;
char current_case[256] = "start";

static constexpr size_t kHeads = 20, kKvHeads = 5, kD = 128, kLayers = 30, kRounds = 5, kTypes = 4;
static const char* const kNames[kTypes] = {"float32", "float16", "int8", "int4"};

static const Pool kInOrder = {[](void*, size_t count, void (*task)(void*, size_t), void* argument) {
                                for (size_t i = 0; i < count; i++) task(argument, i);
                              },
                              nullptr};

static int by_size(const void* a, const void* b) {
  const double x = *static_cast<const double*>(a), y = *static_cast<const double*>(b);
  return (x > y) - (x < y);
}

// The caches of all layers, of one type.
struct Layers {
  Guarded<uint8_t> data;
  Guarded<float> scales;
  Attention op;

  Layers(const Attention& shape, size_t type, Random* random)
      : data(2 * kLayers * kKvHeads * shape.room * row_bytes(static_cast<CacheType>(type), kD)),
        scales(2 * kLayers * kKvHeads * shape.room),
        op(shape) {
    op.cache = static_cast<CacheType>(type);
    const size_t sizes[kTypes] = {4, 2, 1, 1}, size = sizes[type];
    for (size_t i = 0; i < data.size() / size; i++) {
      const uint16_t half = random->next() & 0x3fff;  // below 2
      const float real = random->real();
      const void* const from[kTypes] = {&real, &half, &half, &half};
      memcpy(data.data + i * size, from[type], size);
    }
    for (size_t i = 0; i < scales.size(); i++) scales[i] = 0.01f;
  }

  void run(const Kernels& kernels, size_t layer, void* scratch) {
    const size_t rows = kKvHeads * op.room, bytes = rows * row_bytes(op.cache, kD);
    op.present_key = data.data + 2 * layer * bytes;
    op.present_value = data.data + (2 * layer + 1) * bytes;
    op.present_key_scale = scales.data + 2 * layer * rows;
    op.present_value_scale = scales.data + (2 * layer + 1) * rows;
    op.past_key = op.present_key;
    op.past_value = op.present_value;
    op.past_key_scale = op.present_key_scale;
    op.past_value_scale = op.present_value_scale;
    attention(kernels, op, scratch, kInOrder);
  }
};

int main(int argc, char** argv) {
  const Kernels* kernels = find_kernels(argc > 1 ? argv[1] : nullptr);
  if (!kernels) {
    fprintf(stderr, "kernel is %s, expected one of %s\n", argv[1], offered_names());
    return 2;
  }
  Random random = {1};
  for (size_t positions : {128, 512, 1024, 2048, 4096}) {
    Guarded<float> qkv((kHeads + 2 * kKvHeads) * kD), table(positions * kD / 2), y(kHeads * kD),
        expected(kHeads * kD);
    for (size_t i = 0; i < qkv.size(); i++) qkv[i] = random.real();
    for (size_t i = 0; i < table.size(); i++) table[i] = 0.7f;
    const int32_t last = static_cast<int32_t>(positions) - 1;
    Attention shape = {};
    shape.batch = shape.count = 1;
    shape.heads = kHeads;
    shape.kv_heads = kKvHeads;
    shape.d = kD;
    shape.past = shape.room = positions;
    shape.query = qkv.data;
    shape.key = qkv.data + kHeads * kD;
    shape.value = shape.key + kKvHeads * kD;
    shape.query_stride = shape.kv_stride = qkv.size();
    shape.last = &last;
    shape.cos = shape.sin = table.data;
    shape.y = y.data;
    Guarded<uint8_t> scratch(attention_scratch(shape) + 64);
    Layers* layers[kTypes];
    static double times[kTypes][kRounds * kLayers];
    for (size_t type = 0; type < kTypes; type++) {
      layers[type] = new Layers(shape, type, &random);
      CASE("%s with %zu positions of %s", kernels->name, positions, kNames[type]);
      layers[type]->run(*find_kernels("scalar"), 0, scratch.data);
      memcpy(expected.data, y.data, y.size() * sizeof(float));
      layers[type]->run(*kernels, 0, scratch.data);
      CHECK(memcmp(expected.data, y.data, y.size() * sizeof(float)) == 0);
    }
    for (size_t i = 0; i < kRounds * kLayers; i++) {
      for (size_t type = 0; type < kTypes; type++) {
        const double start = clock_seconds();
        layers[type]->run(*kernels, i % kLayers, scratch.data);
        times[type][i] = 1e6 * (clock_seconds() - start) / kKvHeads;
      }
    }
    printf("%-11s %4zu positions", kernels->name, positions);
    for (size_t type = 0; type < kTypes; type++) {
      qsort(times[type], kRounds * kLayers, sizeof(double), by_size);
      printf("  %s %6.1f us", kNames[type], times[type][kRounds * kLayers / 2]);
      delete layers[type];
    }
    printf("\n");
  }
  return failures != 0;
}
