// The harness of the tests: checks that say which case failed, and random numbers from a seed.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static int failures = 0;
static char current_case[256] = "start";  // what is tested now, with its seed

#define CHECK(condition)                                                                     \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      fprintf(stderr, "%s:%d: %s\n  in %s\n", __FILE__, __LINE__, #condition, current_case); \
      if (++failures >= 20) exit(1);                                                         \
    }                                                                                        \
  } while (0)

#define CASE(...) snprintf(current_case, sizeof current_case, __VA_ARGS__)

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
};
