// Speed of every kernel of this CPU at the shapes of BitNet b1.58 2B-4T.
//     bench [kernel | all] [threads...]    by default with 1 thread and with 2
#include "testing/bench.h"

#include <pthread.h>

using namespace bitnet;

int failures = 0;
char current_case[256] = "start";

static const Benchmark* benchmarks;  // zero before any constructor runs

Benchmark::Benchmark(void (*run)(const Bench& bench)) : run(run), next(benchmarks) {
  benchmarks = this;
}

// Threads that spin between jobs, as those of ONNX Runtime do.
struct Crew {
  void (*task)(void*, size_t);
  void* argument;
  size_t count, next, generation, running, quit;
};
static Crew crew;

static void take() {
  for (;;) {
    const size_t i = __atomic_fetch_add(&crew.next, size_t{1}, __ATOMIC_ACQ_REL);
    if (i >= crew.count) return;
    crew.task(crew.argument, i);
  }
}

static void* member(void*) {
  size_t seen = 0;
  for (;;) {
    while (__atomic_load_n(&crew.generation, __ATOMIC_ACQUIRE) == seen) {
    }
    seen++;
    if (crew.quit) return nullptr;
    take();
    __atomic_fetch_sub(&crew.running, size_t{1}, __ATOMIC_ACQ_REL);
  }
}

static void run_crew(void* size, size_t count, void (*task)(void*, size_t), void* argument) {
  crew.task = task;
  crew.argument = argument;
  crew.count = count;
  crew.next = 0;
  crew.running = *static_cast<size_t*>(size) - 1;
  __atomic_fetch_add(&crew.generation, size_t{1}, __ATOMIC_ACQ_REL);
  take();
  while (__atomic_load_n(&crew.running, __ATOMIC_ACQUIRE)) {
  }
}

static uint8_t* random_weights() {
  uint8_t* w = static_cast<uint8_t*>(malloc(kWeights));
  if (!w) abort();
  Random random = {2};
  for (size_t i = 0; i < kWeights / 8; i++) {
    // Codes 0 to 2, exponents of bfloat16 far from infinity.
    uint64_t word = random.next();
    word &= ~((word & 0x5555555555555555) << 1);
    word &= 0xbfffbfffbfffbfff;
    memcpy(w + 8 * i, &word, 8);
  }
  return w;
}

static void bench_all(const char* only, size_t threads, const uint8_t* w) {
  const Kernels** list;
  const size_t offered = offered_kernels(&list);
  const Pool pool = {run_crew, &threads};
  for (size_t i = 0; i < offered; i++) {
    if (only && strcmp(only, list[i]->name) != 0) continue;
    for (const Benchmark* b = benchmarks; b; b = b->next) b->run({*list[i], pool, threads, w});
  }
}

int main(int argc, char** argv) {
  const char* only = argc > 1 && strcmp(argv[1], "all") != 0 ? argv[1] : nullptr;
  if (only && !find_kernels(only)) {
    fprintf(stderr, "kernel is %s, expected one of %s\n", only, offered_names());
    return 2;
  }
  const uint8_t* w = random_weights();
  for (int arg = 2; arg < (argc > 2 ? argc : 4); arg++) {
    const size_t threads =
        argc > 2 ? strtoul(argv[arg], nullptr, 10) : static_cast<size_t>(arg - 1);
    pthread_t others[64];
    if (threads < 1 || threads > 64) {
      fprintf(stderr, "threads is %s, expected 1 to 64\n", argv[arg]);
      return 2;
    }
    crew = {};
    for (size_t i = 0; i + 1 < threads; i++) pthread_create(others + i, nullptr, member, nullptr);
    bench_all(only, threads, w);
    crew.quit = 1;
    __atomic_fetch_add(&crew.generation, size_t{1}, __ATOMIC_ACQ_REL);
    for (size_t i = 0; i + 1 < threads; i++) pthread_join(others[i], nullptr);
  }
  return failures != 0;
}
