// Shared by the benchmarks. bench.cc runs each BENCH(name) { ... } with each kernel of this CPU and
// each number of threads. A benchmark checks its result against scalar before it measures.
#pragma once

#include "kernels/kernels.h"
#include "platform/clock.h"
#include "platform/pool.h"
#include "testing/check.h"

// One kernel with one number of threads.
struct Bench {
  const bitnet::Kernels& kernels;
  const bitnet::Pool& pool;
  size_t threads;
  const uint8_t* w;  // kWeights bytes of codes 0 to 2, also finite bfloat16
};

struct Benchmark {
  explicit Benchmark(void (*run)(const Bench& bench));
  void (*run)(const Bench& bench);
  const Benchmark* next;
};
#define BENCH(name)                                 \
  static void bench_##name(const Bench& bench);     \
  static const Benchmark made_##name(bench_##name); \
  static void bench_##name(const Bench& bench)

// The weights for one activation row cycle through this much memory, so that no cache holds them.
constexpr size_t kWeights = size_t{640} << 20;
constexpr size_t kWindow = size_t{8} << 20;  // bytes of weights in one measurement
constexpr size_t kRepeats = 9;

// Memory for one benchmark, at a multiple of 64 as ONNX Runtime's: a load that crosses a cache line
// takes twice as long.
template <typename T>
struct Buffer {
  explicit Buffer(size_t count) : room(calloc(count * sizeof(T) + 64, 1)), count(count) {
    if (!room) abort();
    data = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(room) + 63) / 64 * 64);
  }
  ~Buffer() { free(room); }
  Buffer(const Buffer&) = delete;
  void* room;
  T* data;
  size_t count;
};

inline void fill_reals(Buffer<float>* x) {
  Random random = {1};
  for (size_t i = 0; i < x->count; i++) x->data[i] = random.real();
}

// run(kernels, w) must fill y as it does with scalar.
template <typename T, typename Run>
void check_result(const Bench& bench, Buffer<T>* y, const Run& run) {
  CASE("%s", bench.kernels.name);
  Buffer<T> fast(y->count);
  run(bench.kernels, bench.w);
  memcpy(fast.data, y->data, y->count * sizeof(T));
  run(*bitnet::find_kernels("scalar"), bench.w);
  CHECK(memcmp(fast.data, y->data, y->count * sizeof(T)) == 0);
}

struct Times {
  double best, median;
};

// The times of run(kernels, w), which reads `bytes` at w; with `cold`, from memory. They are of
// short windows, as other programs disturb long ones.
template <typename Run>
Times measure(const Bench& bench, size_t bytes, bool cold, const Run& run) {
  const size_t window = cold ? kWindow / bytes + 1 : 1;
  const size_t windows = cold ? kWeights / bytes / window : 1, count = kRepeats * windows;
  Buffer<double> times(count);
  for (size_t i = 0; i < count; i++) {
    const uint8_t* from = bench.w + i % windows * window * bytes;
    const double start = bitnet::clock_seconds();
    for (size_t copy = 0; copy < window; copy++) run(bench.kernels, from + copy * bytes);
    times.data[i] = (bitnet::clock_seconds() - start) / static_cast<double>(window);
  }
  qsort(times.data, count, sizeof(double), [](const void* a, const void* b) {
    const double x = *static_cast<const double*>(a), y = *static_cast<const double*>(b);
    return x < y ? -1 : static_cast<int>(x > y);
  });
  return {times.data[0], times.data[count / 2]};
}

// work: multiply-adds of one run
inline void print(const Bench& bench, const char* name, size_t m, size_t k, size_t n, Times times,
                  size_t bytes, double work) {
  printf(
      "%-11s %zu threads  %-15s m %-4zu k %-5zu n %-7zu %9.1f us (median %9.1f)  %6.1f GB/s  "
      "%7.1f G madd/s\n",
      bench.kernels.name, bench.threads, name, m, k, n, 1e6 * times.best, 1e6 * times.median,
      1e-9 * static_cast<double>(bytes) / times.best, 1e-9 * work / times.best);
  fflush(stdout);
}

// The linears of BitNet b1.58 2B-4T: K, N.
constexpr size_t kLinears[][2] = {{2560, 2560}, {2560, 640}, {2560, 6912}, {6912, 2560}};
