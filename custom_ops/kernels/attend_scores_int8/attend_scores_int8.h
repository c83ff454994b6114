// Queries of 16-bit integers by the keys of an int8 cache.
#pragma once

#include "kernels/attend.h"
#include "platform/cpu.h"

namespace bitnet {

// scores[r * stride + t] = (float32(sum over i < d of q[r][i] * k[t * d + i]) * k_scale[t]) *
// factor[r] for t < positions, each operation rounded; d <= kAttendDepth
// q: rows of d, |q| <= 32512, each padded with zeros to a multiple of kPadInt8
// k: rows of d int8
// next: prefetched meanwhile, the size of k: what is read later
using AttendScoresInt8 = void(size_t rows, size_t positions, size_t d, const int16_t* q,
                              const int8_t* k, const float* k_scale, const float* factor,
                              const int8_t* next, float* scores, size_t stride);

#define KERNEL(isa, needs) AttendScoresInt8 attend_scores_int8_##isa;
#include "kernels/attend_scores_int8/kernels.inc"

}  // namespace bitnet
