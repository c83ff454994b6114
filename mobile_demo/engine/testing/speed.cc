// Measures the engine as benchmarks/engines.py measures the others: greedy ids through the C
// interface, tokens/s of a prompt, and of the steps after another one, as a JSON line.
//   THREADS=2 PROMPT=512 CONTEXT=128 NEW=128 edge_speed FOLDER [ONNXRUNTIME [OPERATORS]]
// It is a command of benchmarks.peers, which sets these four.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <vector>

#include "bitnet_edge.h"

namespace {

int count_of(const char* name, int otherwise) {
  const char* text = getenv(name);
  return text ? atoi(text) : otherwise;
}

// Answers `count` ids with `steps` steps of one id after the first one.
bool run(bitnet_edge* engine, int seed, int count, int steps, bitnet_edge_stats* stats) {
  bitnet_edge_info info;
  bitnet_edge_describe(engine, &info);
  std::vector<int32_t> ids;
  uint32_t state = static_cast<uint32_t>(seed);
  for (int i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;  // Numerical Recipes' generator
    ids.push_back(
        static_cast<int32_t>(3 + (state >> 8) % static_cast<uint32_t>(info.vocab_size - 3)));
  }
  bitnet_edge_generation generation;
  bitnet_edge_defaults(engine, &generation);
  generation.do_sample = 0;
  generation.repetition_penalty = 1;
  generation.max_new_tokens = steps + 1;
  bitnet_edge_error error;
  if (!bitnet_edge_generate(engine, ids.data(), ids.size(), &generation, nullptr, nullptr, stats,
                            &error)) {
    if (stats->new_ids == steps + 1 && stats->reused_ids == 0) return true;
    fprintf(stderr, "error: %" PRId32 " ids came and %" PRId32 " were reused, expected %d and 0\n",
            stats->new_ids, stats->reused_ids, steps + 1);
    return false;
  }
  fprintf(stderr, "error: %s\n", error.sentence);
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 1;
  bitnet_edge_options options = {argv[1], argc > 2 ? argv[2] : nullptr,
                                 argc > 3 ? argv[3] : nullptr, count_of("THREADS", 0)};
  bitnet_edge* engine;
  bitnet_edge_error error;
  if (bitnet_edge_open(&options, &engine, &error)) {
    fprintf(stderr, "error: %s\n", error.sentence);
    return 2;
  }
  const int prompt = count_of("PROMPT", 512), steps = count_of("NEW", 128);
  bitnet_edge_stats warm, prefill, decode;
  const bool done = run(engine, 1, 8, 1, &warm) && run(engine, 2, prompt, 0, &prefill) &&
                    run(engine, 3, count_of("CONTEXT", 128), steps, &decode);
  if (done) {
    printf("{\"prefill\": %.3f, \"decode\": %.3f}\n", prompt / prefill.first_seconds,
           steps / decode.decode_seconds);
  }
  bitnet_edge_close(engine);
  return done ? 0 : 2;
}
