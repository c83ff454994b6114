// What tests ask of the system, on POSIX and on Windows: pages that nothing may touch, and
// variables of the environment.
#pragma once

#include <stddef.h>
#include <stdlib.h>

#ifdef _WIN32
#define NOMINMAX
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace host {

#ifdef _WIN32

inline size_t page_size() {
  SYSTEM_INFO info;
  GetSystemInfo(&info);
  return info.dwPageSize;
}

// `size` bytes of which the last `forbidden` may not be touched; both are whole pages.
inline char* guarded(size_t size, size_t forbidden) {
  char* base =
      static_cast<char*>(VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
  DWORD before;
  if (!base || !VirtualProtect(base + size - forbidden, forbidden, PAGE_NOACCESS, &before)) abort();
  return base;
}

inline void release(char* base, size_t) { VirtualFree(base, 0, MEM_RELEASE); }

inline void set_variable(const char* name, const char* value) { _putenv_s(name, value); }
inline void unset_variable(const char* name) { _putenv_s(name, ""); }

#else

inline size_t page_size() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

// `size` bytes of which the last `forbidden` may not be touched; both are whole pages.
inline char* guarded(size_t size, size_t forbidden) {
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) abort();
  char* start = static_cast<char*>(base);
  if (mprotect(start + size - forbidden, forbidden, PROT_NONE) != 0) abort();
  return start;
}

inline void release(char* base, size_t size) { munmap(base, size); }

inline void set_variable(const char* name, const char* value) { setenv(name, value, 1); }
inline void unset_variable(const char* name) { unsetenv(name); }

#endif

}  // namespace host
