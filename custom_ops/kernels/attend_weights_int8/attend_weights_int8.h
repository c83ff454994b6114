// Weights of values, and the scales of these, to 16-bit integers.
#pragma once

#include "kernels/attend.h"
#include "platform/cpu.h"

namespace bitnet {

// p[r * kAttendSpan + t] = round_half_even(x[t] * s) for t < positions <= kAttendSpan, then zeros;
// x[t] = float32(weights[r * stride + t]) * v_scale[t], s = 32512 / max(max|x|, 1e-30)
// scale[r] = 1 / s; all in float32, each operation rounded. Where an x is not finite, p is 0 and
// scale[r] is NaN.
// weights: float64 that hold float32 values
using AttendWeightsInt8 = void(size_t rows, size_t positions, const double* weights, size_t stride,
                               const float* v_scale, int16_t* p, double* scale);

constexpr float kLeastPeak = 1e-30f;

#define KERNEL(isa, needs) AttendWeightsInt8 attend_weights_int8_##isa;
#include "kernels/attend_weights_int8/kernels.inc"

}  // namespace bitnet
