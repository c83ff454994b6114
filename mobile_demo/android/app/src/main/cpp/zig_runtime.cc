// The little that the engine needs of libc++'s library. zig has no Android's libc to compile that
// library for, so `make apk` links this instead; the NDK links its own.
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <new>
#include <string>

// Without exceptions, a small allocation that fails ends the program, as in the NDK's library.
void* operator new(size_t size) {
  void* memory = malloc(size ? size : 1);
  if (!memory) abort();
  return memory;
}
void* operator new[](size_t size) { return operator new(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return malloc(size ? size : 1); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return malloc(size ? size : 1);
}
void operator delete(void* memory) noexcept { free(memory); }
void operator delete[](void* memory) noexcept { free(memory); }
void operator delete(void* memory, size_t) noexcept { free(memory); }
void operator delete[](void* memory, size_t) noexcept { free(memory); }

// The names of errno in musl's headers, with which this is compiled, and in Android's library.
extern "C" int* __errno();
extern "C" int* __errno_location() { return __errno(); }

const std::nothrow_t std::nothrow{};

_LIBCPP_BEGIN_NAMESPACE_STD

void __libcpp_verbose_abort(const char*, ...) _NOEXCEPT { abort(); }

template class basic_string<char>;
template string operator+(const char*, const string&);

namespace {

template <typename Number>
string printed(const char* format, Number value) {
  char text[400];  // 309 digits before the point of a double, 6 behind it
  return string(text, static_cast<size_t>(snprintf(text, sizeof(text), format, value)));
}

}  // namespace

string to_string(int value) { return printed("%d", value); }
string to_string(unsigned value) { return printed("%u", value); }
string to_string(long value) { return printed("%ld", value); }
string to_string(unsigned long value) { return printed("%lu", value); }
string to_string(long long value) { return printed("%lld", value); }
string to_string(unsigned long long value) { return printed("%llu", value); }
string to_string(double value) { return printed("%f", value); }

_LIBCPP_END_NAMESPACE_STD
