// The harness of the tests: checks that say which case failed, random numbers from a printed seed,
// and memory that ends at a forbidden page, so that a kernel that reads past its input dies.
#pragma once

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <initializer_list>
#include <vector>

#include "kernels/kernels.h"
#include "testing/system.h"

// The largest K of the tests, and how many kernels of this CPU the operators are tested with. Both
// are smaller where each instruction takes long.
#ifndef TESTED_K
#define TESTED_K bitnet::kMaxK
#endif
#ifndef TESTED_KERNELS
#define TESTED_KERNELS bitnet::kCpuCount
#endif
constexpr size_t kTestedK = TESTED_K, kTestedKernels = TESTED_KERNELS;
constexpr bool kTraps = kTestedK < 6912;  // where each product of a kernel traps: fewer shapes

// Under an emulator, where all takes ten times as long: cases may be left out that differ in
// nothing that depends on the CPU.
inline bool emulated() { return getenv("BITNET_ONNX_EMULATED") != nullptr; }

extern int failures;
extern char current_case[256];  // what is tested now, with its seed

#define CHECK(condition)                                                                     \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      fprintf(stderr, "%s:%d: %s\n  in %s\n", __FILE__, __LINE__, #condition, current_case); \
      if (++failures >= 20) exit(1);                                                         \
    }                                                                                        \
  } while (0)

#define CASE(...) snprintf(current_case, sizeof current_case, __VA_ARGS__)

// main.cc runs each TEST(suite, name) { ... }. A suite is a folder.
struct Test {
  Test(const char* suite, const char* name, void (*run)());
  const char *suite, *name;
  void (*run)();
  Test* next;
};
#define TEST(suite, name)                                                        \
  static void test_##suite##_##name();                                           \
  static Test registered_##suite##_##name(#suite, #name, test_##suite##_##name); \
  static void test_##suite##_##name()

inline bool same_bits(float a, float b) { return memcmp(&a, &b, 4) == 0 || (isnan(a) && isnan(b)); }
inline bool same_bits(double a, double b) {
  return memcmp(&a, &b, 8) == 0 || (isnan(a) && isnan(b));
}

// The kernels to test operators with: those of this CPU, or those that BITNET_ONNX_KERNEL names.
inline size_t tested_kernels(const bitnet::Kernels*** list) {
  const size_t offered = bitnet::offered_kernels(list);
  const char* name = bitnet::forced_name();
  if (!name) return offered < kTestedKernels ? offered : kTestedKernels;
  for (size_t i = 0; i < offered; i++, ++*list) {
    if (strcmp((**list)->name, name) == 0) return 1;
  }
  fprintf(stderr, "kernel is %s, expected one of %s\n", name, bitnet::offered_names());
  exit(1);
}

// Whether to test a row of a list: this CPU can run it or, where BITNET_ONNX_KERNEL names a CPU, it
// is the row that this CPU gets.
template <typename Row, size_t N>
bool tested(const Row (&rows)[N], const Row& row) {
  const bitnet::Kernels** list;
  uint32_t features = bitnet::detect_cpu();
  if (bitnet::forced_name()) {
    tested_kernels(&list);
    for (const bitnet::Cpu& cpu : bitnet::kCpus) {
      if (strcmp(cpu.name, (*list)->name) == 0) features = cpu.features;
    }
    for (const Row& first : rows) {
      if (bitnet::has_all(features, first.needs)) return &first == &row;
    }
  }
  const bool runs = bitnet::has_all(features, row.needs);
  if (!runs) printf("skipped: this CPU cannot run %s\n", row.isa);
  return runs;
}

// splitmix64
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  size_t below(size_t n) { return next() % n; }
  // Uniform in [-1, 1)
  float real() { return static_cast<float>(static_cast<int32_t>(next() >> 32)) / 2147483648.0f; }
};

// `count` values that end at a forbidden page. Their address is as unaligned as their size makes
// it.
template <typename T>
struct Guarded {
  explicit Guarded(size_t count) : count_(count) {
    const size_t page = host::page_size(), bytes = count * sizeof(T);
    room_ = (bytes + page - 1) / page * page + page;
    base_ = host::guarded(room_, page);
    data = reinterpret_cast<T*>(base_ + room_ - page - bytes);
  }
  ~Guarded() { host::release(base_, room_); }
  Guarded(const Guarded&) = delete;
  T& operator[](size_t i) { return data[i]; }
  size_t size() const { return count_; }

  T* data;

 private:
  size_t count_, room_;
  char* base_;
};
