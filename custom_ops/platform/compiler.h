// What kernels ask of the compiler. These are macros: a kernel shares no inline function with files
// that other flags compile.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#define BITNET_X86 1
#else
#define BITNET_X86 0
#endif
#if defined(__aarch64__) || defined(_M_ARM64)
#define BITNET_ARM 1
#else
#define BITNET_ARM 0
#endif

#if defined(__clang__)
// Contraction to FMA would change roundings. Builds that can pass flags have this as a flag, too;
// SwiftPM passes none.
#pragma clang fp contract(off)
#endif

#if defined(__GNUC__)
// For a loop over an array of registers: unrolled early, so that the array stays in registers.
#define UNROLL _Pragma("GCC unroll 16")
// For a short loop with a long body. GCC 12 would unroll it whole, gather what goes to one sum into
// a chain that waits for itself, and keep the other sums in memory.
#define ROLLED _Pragma("GCC unroll 1")
#define RESTRICT __restrict__
// Keeps a vector in a register. GCC would load it again for each instruction that takes it.
#define KEEP(x) __asm__("" : "+v"(x))
#define PREFETCH(p) __builtin_prefetch(p)
// Into the second cache: for what is read so much later that the first would drop it.
#define PREFETCH_FAR(p) __builtin_prefetch(p, 0, 2)
// For a loop whose output may be its input: no round reads what another one writes.
#ifdef __clang__
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif
// Not those of the standard library, whose copies in two instruction sets the linker would merge.
#define COUNT_BITS(x) static_cast<size_t>(__builtin_popcount(x))
#define LOWEST_BIT(x) static_cast<size_t>(__builtin_ctz(x))
// For a long function with much work in each call: inlined copies only make the library larger.
#define NOINLINE __attribute__((noinline, unused))
// For the body of a loop that a function of its own makes readable.
#define INLINE __attribute__((always_inline)) inline
#else
#include <intrin.h>
#define UNROLL
#define ROLLED
#define INDEPENDENT __pragma(loop(ivdep))
#define RESTRICT __restrict
#define KEEP(x)
#if BITNET_X86
#define COUNT_BITS(x) static_cast<size_t>(__popcnt(x))
#define LOWEST_BIT(x) static_cast<size_t>(_tzcnt_u32(x))
#define PREFETCH(p) _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0)
#define PREFETCH_FAR(p) _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1)
#else
#define PREFETCH(p) __prefetch(p)
#define PREFETCH_FAR(p) __prefetch(p)
#endif
#define NOINLINE __declspec(noinline)
#define INLINE __forceinline
#endif

// For a stream of weights or of a cache. The first cache of x86 takes lines from memory in at half
// the rate of the second, and drops some before their turn; Arm was not measured.
#if BITNET_X86
#define PREFETCH_STREAM(p) PREFETCH_FAR(p)
#else
#define PREFETCH_STREAM(p) PREFETCH(p)
#endif
