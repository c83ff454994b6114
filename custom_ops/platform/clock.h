// Nanoseconds of a clock that never goes back; some 20 ns a call.
#pragma once

#include <stdint.h>

#ifdef _WIN32
#include <windows.h>
#else
#include <time.h>
#endif

namespace bitnet {

inline uint64_t clock_nanoseconds() {
#ifdef _WIN32
  LARGE_INTEGER ticks, per_second;
  QueryPerformanceCounter(&ticks);
  QueryPerformanceFrequency(&per_second);
  return static_cast<uint64_t>(static_cast<double>(ticks.QuadPart) * 1e9 /
                               static_cast<double>(per_second.QuadPart));
#else
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
#endif
}

inline double clock_seconds() { return 1e-9 * static_cast<double>(clock_nanoseconds()); }

}  // namespace bitnet
