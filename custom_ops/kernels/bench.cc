// Speed of every kernel that this CPU offers, at the shapes of BitNet b1.58 2B-4T. Each result is
// checked against scalar. Weights for one activation row cycle through 640 MB, so that they come
// from memory; the best of many short measurements is printed.
//   bench [kernel] [threads...]
#include <pthread.h>

#include "kernels/dispatch.h"
#include "operators/bf16_matmul/bf16_matmul.h"
#include "operators/int8_matmul/int8_matmul.h"
#include "operators/ternary_group_matmul/ternary_group_matmul.h"
#include "operators/ternary_matmul/ternary_matmul.h"
#include "platform/clock.h"
#include "testing/check.h"

using namespace bitnet;

int failures = 0;
char current_case[256] = "start";

static constexpr size_t kWeights = size_t{640} << 20;
static constexpr size_t kWindow = size_t{8} << 20;  // bytes of weights
static constexpr size_t kRepeats = 9;

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

enum Type { kTernary, kGroup, kFloat, kBf16, kInt8 };
static const char* const kTypeNames[] = {"ternary", "group", "float", "bf16", "int8"};

struct Bench {
  Type type;
  size_t m, k, n;
  const float* x;
  const float* scale;
  float* y;
  void* scratch;

  size_t bytes() const {
    if (type <= kFloat) return n * ((k + 255) / 256 * 64);  // without the scales of groups
    return n * k * (type == kBf16 ? 2 : 1);
  }
  void run(const Kernel& kernel, const uint8_t* w, const Pool& pool) const {
    if (type == kTernary) {
      const float scale = 0.5f;
      ternary_matmul(kernel, {m, k, n, x, w, reinterpret_cast<const uint8_t*>(&scale), false, y},
                     scratch, pool);
    }
    if (type == kGroup) ternary_group_matmul(kernel, {m, k, n, x, w, scale, y}, scratch, pool);
    if (type == kFloat) ternary_float_matmul(kernel, {m, k, n, x, w, scale, y}, scratch, pool);
    if (type == kBf16) bf16_matmul(kernel, {m, k, n, x, w, y}, scratch, pool);
    if (type == kInt8) int8_matmul(kernel, {m, k, n, x, w, scale, y}, scratch, pool);
  }
};

static void bench(const Kernel& kernel, const Kernel& scalar, const Bench& b, const uint8_t* w,
                  const Pool& pool, size_t threads) {
  const size_t bytes = b.bytes(), copies = b.m == 1 ? kWeights / bytes : 1;
  b.run(kernel, w, pool);
  float* fast = static_cast<float*>(malloc(4 * b.m * b.n));
  memcpy(fast, b.y, 4 * b.m * b.n);
  b.run(scalar, w, pool);
  CASE("%s m %zu k %zu n %zu", kernel.name, b.m, b.k, b.n);
  CHECK(memcmp(fast, b.y, 4 * b.m * b.n) == 0);
  free(fast);
  // The best of short windows: other programs on the machine disturb long ones.
  const size_t window = b.m == 1 ? kWindow / bytes + 1 : 1, windows = copies / window;
  double best = 1e9;
  for (size_t i = 0; i < kRepeats * windows; i++) {
    const uint8_t* from = w + i % windows * window * bytes;
    const double start = clock_seconds();
    for (size_t copy = 0; copy < window; copy++) b.run(kernel, from + copy * bytes, pool);
    const double seconds = (clock_seconds() - start) / static_cast<double>(window);
    if (seconds < best) best = seconds;
  }
  const double work = static_cast<double>(b.m) * static_cast<double>(b.k * b.n);
  printf("%-11s %zu threads  %-7s m %-4zu k %-5zu n %-7zu %9.1f us  %6.1f GB/s  %7.1f G madd/s\n",
         kernel.name, threads, kTypeNames[b.type], b.m, b.k, b.n, 1e6 * best,
         1e-9 * static_cast<double>(bytes) / best, 1e-9 * work / best);
  fflush(stdout);
}

static void bench_read(const Kernel& kernel, const uint8_t* w, const Pool& pool, size_t threads) {
  double best = 1e9;
  uint64_t sink = 0;
  for (size_t repeat = 0; repeat < kRepeats; repeat++) {
    const size_t part = size_t{1} << 20;
    const double start = clock_seconds();
    parallel(pool, kWeights / part, [&](size_t i) {
      __atomic_fetch_xor(&sink, kernel.read(w + i * part, part), __ATOMIC_RELAXED);
    });
    if (clock_seconds() - start < best) best = clock_seconds() - start;
  }
  CHECK(sink == 0 || kRepeats % 2);
  printf("%-11s %zu threads  read%51.1f us  %6.1f GB/s\n", kernel.name, threads, 1e6 * best,
         1e-9 * kWeights / best);
}

// The kernels that skip, without an operator around them, next to those that read everything. All
// have 6912 weight rows of 2560, or 6912 columns of 2560 outputs; `count` of them are read.
enum Skip { kGemv, kSelect, kColumns, kGemm, kColumnsGemm };
static const char* const kSkipNames[] = {"gemv", "select", "columns", "gemm", "col gemm"};
static constexpr size_t kRows = 6912, kRowBytes = 640, kRowBlocks = 10;

struct Sparse {
  Skip type;
  size_t m, count;
  int32_t index[kRows];
  int8_t* q;  // m rows of kRows
  int32_t q_sums[128];
  int32_t* sums;

  // Tasks of as many bytes as an operator makes them; the partial sums of columns are not added.
  void run(const Kernel& kernel, const uint8_t* w, const Pool& pool) {
    const size_t step = m > 1 ? 128 : 4;
    const size_t part = rows_per_task(count, kRowBytes, step, count);
    const size_t tasks = type == kColumnsGemm ? kRowBlocks : (count + part - 1) / part;
    parallel(pool, tasks, [&](size_t task) {
      const size_t begin = task * part, here = count - begin < part ? count - begin : part;
      int32_t* to = sums + begin;
      switch (type) {
        case kGemv:
          kernel.ternary_gemv(here, kRowBlocks, q, q_sums[0], w + begin * kRowBytes, to);
          break;
        case kSelect:
          for (size_t i = 0; i < here; i += 16) {  // 16 at a time, while the next 16 are known
            const size_t known = here - i < 32 ? here - i : 32, now = known < 16 ? known : 16;
            const int32_t* rows = index + begin + i;
            kernel.ternary_select(now, known, kRowBlocks, q, q_sums[0], w, rows, to + i);
          }
          break;
        case kColumns:
          kernel.ternary_columns(here, kRowBlocks, index + begin, q + begin, w, sums + task * 2560);
          break;
        case kGemm:
          kernel.ternary_gemm(m, here, kRowBlocks, q, q_sums, w + begin * kRowBytes, to, kRows);
          break;
        case kColumnsGemm:
          kernel.ternary_columns_gemm(m, kRows, q, kRows, q_sums, w + task * kBlockBytes, kRowBytes,
                                      sums + task * kBlockK, 2560);
      }
    });
  }
};

static void bench_sparse(const Kernel& kernel, const Kernel& scalar, const uint8_t* w,
                         const Pool& pool, size_t threads) {
  const size_t row[] = {kRows, kRows, kRows / 2, kRows / 10, kRows, kRows / 2, kRows / 10, kRows};
  const Skip types[] = {kGemv, kSelect, kSelect, kSelect, kColumns, kColumns, kColumns, kGemm};
  Sparse* s = static_cast<Sparse*>(malloc(sizeof(Sparse)));
  const size_t most = 128 * kRows, sums = 4 * most;
  s->q = static_cast<int8_t*>(malloc(most));
  s->sums = static_cast<int32_t*>(malloc(2 * sums));
  Random random = {3};
  for (size_t i = 0; i < most; i++) s->q[i] = static_cast<int8_t>(random.next());
  for (size_t i = 0; i < 9; i++) {
    s->type = i < 8 ? types[i] : kColumnsGemm;
    s->count = i < 8 ? row[i] : kRows;
    s->m = s->type >= kGemm ? 128 : 1;
    const size_t k = s->type == kColumnsGemm ? kRows : 2560;
    for (size_t r = 0; r < 128; r++) {
      s->q_sums[r] = 0;
      for (size_t j = 0; j < k; j++) s->q_sums[r] += s->q[r * k + j];
    }
    for (size_t from = 0, to = 0; to < s->count; from++) {
      if (random.below(kRows - from) < s->count - to) s->index[to++] = static_cast<int32_t>(from);
    }
    CASE("%s %s %zu", kernel.name, kSkipNames[s->type], s->count);
    memset(s->sums, 0, sums);
    s->run(kernel, w, pool);
    memcpy(s->sums + most, s->sums, sums);
    s->run(scalar, w, pool);
    CHECK(memcmp(s->sums, s->sums + most, sums) == 0);
    const size_t bytes = kRows * kRowBytes, copies = s->m == 1 ? kWeights / bytes : 1;
    double times[kRepeats * kWeights / (kRows * kRowBytes)];
    const size_t runs = kRepeats * copies;
    for (size_t j = 0; j < runs; j++) {
      const double start = clock_seconds();
      s->run(kernel, w + j % copies * bytes, pool);
      times[j] = clock_seconds() - start;
    }
    qsort(times, runs, sizeof times[0], [](const void* a, const void* b) {
      const double x = *static_cast<const double*>(a), y = *static_cast<const double*>(b);
      return x < y ? -1 : x > y;
    });
    const double best = times[0], work = static_cast<double>(s->m * s->count) * 2560;
    printf(
        "%-11s %zu threads  %-8s m %-3zu rows %-5zu best %8.1f us %5.1f GB/s %6.1f G madd/s  "
        "median %8.1f us\n",
        kernel.name, threads, kSkipNames[s->type], s->m, s->count, 1e6 * best,
        1e-9 * static_cast<double>(s->count * kRowBytes) / best, 1e-9 * work / best,
        1e6 * times[runs / 2]);
    fflush(stdout);
  }
  free(s->q);
  free(s->sums);
  free(s);
}

static void bench_all(const Kernel& kernel, const Kernel& scalar, uint8_t* w, size_t threads) {
  const size_t most_m = 128, most_k = 6912, most_n = 128256;
  const Pool pool = {run_crew, &threads};
  float* x = static_cast<float*>(malloc(4 * most_m * most_k));
  const size_t scales = 2560 * 6912 / 128;  // of groups; more than most_n
  float* scale = static_cast<float*>(malloc(4 * scales));
  float* y = static_cast<float*>(malloc(4 * (most_m * most_k + most_n)));
  void* scratch = malloc(ternary_float_matmul_scratch(most_m, most_k));
  Random random = {1};
  for (size_t i = 0; i < most_m * most_k; i++) x[i] = random.real();
  for (size_t i = 0; i < scales; i++) scale[i] = random.real();
  bench_read(kernel, w, pool, threads);
  bench_sparse(kernel, scalar, w, pool, threads);
  const size_t shapes[][2] = {{2560, 2560}, {2560, 640}, {2560, 6912}, {6912, 2560}};
  for (size_t m : {1, 2, 4, 8, 16, 128}) {
    for (const auto& s : shapes) {
      for (Type type : {kTernary, kGroup, kFloat}) {
        bench(kernel, scalar, {type, m, s[0], s[1], x, scale, y, scratch}, w, pool, threads);
      }
    }
  }
  bench(kernel, scalar, {kBf16, 1, 2560, 65536, x, scale, y, scratch}, w, pool, threads);
  bench(kernel, scalar, {kInt8, 1, 2560, most_n, x, scale, y, scratch}, w, pool, threads);
  free(x);
  free(scale);
  free(y);
  free(scratch);
}

int main(int argc, char** argv) {
  const Kernel** list;
  const size_t offered = offered_kernels(&list);
  const char* only = argc > 1 && strcmp(argv[1], "all") != 0 ? argv[1] : nullptr;
  uint8_t* w = static_cast<uint8_t*>(malloc(kWeights));
  Random random = {2};
  for (size_t i = 0; i < kWeights / 8; i++) {
    // Codes 0 to 2, exponents of bfloat16 far from infinity.
    uint64_t word = random.next();
    word &= ~((word & 0x5555555555555555) << 1);
    word &= 0xbfffbfffbfffbfff;
    memcpy(w + 8 * i, &word, 8);
  }
  for (int arg = 2; arg < (argc > 2 ? argc : 4); arg++) {
    const size_t threads =
        argc > 2 ? strtoul(argv[arg], nullptr, 10) : static_cast<size_t>(arg - 1);
    pthread_t others[64];
    if (threads < 1 || threads > 64) return 2;
    crew = {};
    for (size_t i = 0; i + 1 < threads; i++) pthread_create(others + i, nullptr, member, nullptr);
    for (size_t i = 0; i < offered; i++) {
      if (only && strcmp(only, list[i]->name) != 0) continue;
      bench_all(*list[i], *list[offered - 1], w, threads);
    }
    crew.quit = 1;
    __atomic_fetch_add(&crew.generation, size_t{1}, __ATOMIC_ACQ_REL);
    for (size_t i = 0; i + 1 < threads; i++) pthread_join(others[i], nullptr);
  }
  return failures != 0;
}
