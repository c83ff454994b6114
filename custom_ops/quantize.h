// Activations to integers, one row (token) at a time. Plain float32 in a fixed order, so that every
// CPU gives the same bits.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace bitnet {

// q[k] = clamp(round_half_even(x[k] * s)) with s = limit / max(max|x|, 1e-5).
// Zeros fill q from `count` to `padded`. Returns s, or NaN when x holds a NaN or an infinity: q is
// then all zeros. x may lie at any address.

// limits -128 and 127, s = 127 / max; *sum gets the sum of q
float quantize_int8(const float* x, size_t count, size_t padded, int8_t* q, int32_t* sum);

// limits -32512 and 32512, s = 32512 / max
float quantize_int16(const float* x, size_t count, size_t padded, int16_t* q);

// Activations that must not lose precision: v[k] = round_half_even(x[k] * s) in float64 with
// s = 2^30 / max(max|x|, 2^-126), so that v[k] / s is x[k] to 2^-31 of the largest |x|. v is stored
// as int8 digits: v[k] = sum over d = 0..3 of 256^d * q[d * padded + k]; zeros from `count` on.
double quantize_digits(const float* x, size_t count, size_t padded, int8_t* q);

// x in float64, in each 16 the 8 even ones before the 8 odd ones; zeros up to `padded`.
void widen_bf16(const float* x, size_t count, size_t padded, double* out);

}  // namespace bitnet
