// Weights of 16-bit integers by the values of an int8 cache.
#pragma once

#include "kernels/attend.h"
#include "platform/cpu.h"

namespace bitnet {

// sums[r * s_stride + i] += float64(sum over t < positions of p[r][t] * v[t * d + i]) * scale[r]
// for i < d; positions <= kAttendSpan. The sum is below 2^28 and the scale holds a float32 value,
// so the product is exact: fused or not, the bits are the same.
// p: rows of kAttendSpan, |p| <= 32512, zeros from `positions` on
// v: rows of d int8
// next: prefetched meanwhile, the size of v: what is read later
// A row of sums is padded to a multiple of kPadHead; the padding may hold anything.
using AttendValuesInt8 = void(size_t rows, size_t positions, size_t d, const int16_t* p,
                              const int8_t* v, const double* scale, const int8_t* next,
                              double* sums, size_t s_stride);
static_assert(kAttendSpan * 32512 * 128 < 1 << 28, "28 bits, and 24 of the scale");

#define KERNEL(isa, needs) AttendValuesInt8 attend_values_int8_##isa;
#include "kernels/attend_values_int8/kernels.inc"

}  // namespace bitnet
