// Vector instructions that every compiler leaves in the order of the file. AMD's Zen 4 gives each
// instruction one of its four units when it enters the queues, long before it runs. A tile keeps
// all four busy, so the order alone decides whether they share the work: 17 to 22 cycles a step.
#pragma once

#include <immintrin.h>

#include "platform/compiler.h"

namespace bitnet {

#if defined(__GNUC__)
static INLINE __m512i ordered_load(const void* p) {
  __m512i v;
  __asm__ volatile("vmovdqu64 %1, %0" : "=v"(v) : "m"(*static_cast<const __m512i_u*>(p)));
  return v;
}

// The 4 bytes at p in all lanes.
static INLINE __m512i ordered_spread(const void* p) {
  __m512i v;
  __asm__ volatile("vpbroadcastd %1, %0" : "=v"(v) : "m"(*static_cast<const uint8_t (*)[4]>(p)));
  return v;
}

static INLINE __m512i ordered_and(__m512i a, __m512i b) {
  __m512i v;
  __asm__ volatile("vpandd %2, %1, %0" : "=v"(v) : "v"(a), "v"(b));
  return v;
}

// sum += unsigned bytes w x signed bytes q, 4 to a lane.
static INLINE void ordered_dot(__m512i* sum, __m512i w, __m512i q) {
  __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(w), "v"(q));
}

// sum += the words of a table that `entry` names.
static INLINE void ordered_look_up(__m512i* sum, __m512i entry, __m512i table) {
  __m512i v;
  __asm__ volatile("vpermw %2, %1, %0" : "=v"(v) : "v"(entry), "v"(table));
  __asm__ volatile("vpaddw %1, %0, %0" : "+v"(*sum) : "v"(v));
}
#else
static INLINE __m512i ordered_load(const void* p) { return _mm512_loadu_si512(p); }
static INLINE __m512i ordered_spread(const void* p) {
  return _mm512_broadcastd_epi32(_mm_loadu_si32(p));
}
static INLINE __m512i ordered_and(__m512i a, __m512i b) { return _mm512_and_si512(a, b); }
static INLINE void ordered_dot(__m512i* sum, __m512i w, __m512i q) {
  *sum = _mm512_dpbusd_epi32(*sum, w, q);
}
static INLINE void ordered_look_up(__m512i* sum, __m512i entry, __m512i table) {
  *sum = _mm512_add_epi16(*sum, _mm512_permutexvar_epi16(entry, table));
}
#endif

}  // namespace bitnet
