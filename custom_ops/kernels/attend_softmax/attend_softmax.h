// Scores to the weights of values.
#pragma once

#include "kernels/attend.h"
#include "platform/cpu.h"

namespace bitnet {

// weights[t] = exp(scores[t] - max of the scores). Returns their sum, which has 16 float64 lanes:
// lane l adds t = l, l+16, ... in this order, then lane l takes in l+8, l+4, l+2, l+1. A NaN or an
// infinite maximum makes the sum NaN.
// exp(x) is float32, with each operation rounded, and differs from the true value by at most 1 ulp
// (exponential in test.cc): x is at least kExpLeast, n = x * kLog2E rounded half to even,
// r = (x - n * kLn2High) - n * kLn2Low, exp(x) = (1 + r * (1 + r * (1/2! + ... + r * 1/7!))) * 2^n
using AttendSoftmax = double(size_t positions, const float* scores, double* weights);

#define KERNEL(isa, needs) AttendSoftmax attend_softmax_##isa;
#include "kernels/attend_softmax/kernels.inc"

}  // namespace bitnet
