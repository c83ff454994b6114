// Queries by the keys of a float32 or float16 cache.
#pragma once

#include "kernels/attend.h"
#include "platform/cpu.h"

namespace bitnet {

// scores[r * stride + t] = float32(sum over i < d of q[r][i] * k[t][i]) / root for t < positions.
// The sum has 8 float64 lanes: lane l adds i = l, l+8, ... in this order, then lane l takes in l+4,
// l+2, l+1.
// q: rows of d float64 that hold float32 values, each padded with zeros to a multiple of kPadHead
// k: rows of d float32, or of d float16, which become float32 without rounding
template <typename Cache>
using AttendScores = void(size_t rows, size_t positions, size_t d, const double* q, const Cache* k,
                          float root, float* scores, size_t stride);

#define KERNEL(isa, needs)                 \
  AttendScores<float> attend_scores_##isa; \
  AttendScores<uint16_t> attend_scores_f16_##isa;
#include "kernels/attend_scores/kernels.inc"

}  // namespace bitnet
