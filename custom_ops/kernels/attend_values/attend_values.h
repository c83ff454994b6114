// Weights by the values of a float32 or float16 cache.
#pragma once

#include "kernels/attend.h"
#include "platform/cpu.h"

namespace bitnet {

// sums[r * s_stride + i] += weights[r * stride + t] * v[t * d + i] for t = 0, 1, ..., i < width.
// Each product is exact, as the weights hold float32 values. A row of sums is padded to a multiple
// of kPadHead; the padding may hold anything. A call of at most kAttendAhead positions, which stay
// in the first cache for all rows, prefetches those kAttendAhead further on in the order of memory.
template <typename Cache>
using AttendValues = void(size_t rows, size_t positions, size_t width, size_t d,
                          const double* weights, size_t stride, const Cache* v, double* sums,
                          size_t s_stride);

#define KERNEL(isa, needs)                 \
  AttendValues<float> attend_values_##isa; \
  AttendValues<uint16_t> attend_values_f16_##isa;
#include "kernels/attend_values/kernels.inc"

}  // namespace bitnet
