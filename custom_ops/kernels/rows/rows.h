// Loops over one row (token) of activations: quantizers, the norm, rotation by position,
// the ends of products.
#pragma once

#include "kernels/format.h"
#include "platform/cpu.h"

namespace bitnet {

// q[k] = clamp(round_half_even(x[k] * s)) with s = limit / max(max|x|, 1e-5). Zeros fill q from
// `count` to `padded`. Returns s; where x holds a NaN or an infinity, NaN, and q is all zeros. x
// may lie at any address.

// limits -128 and 127, s = 127 / max; *sum gets the sum of q
using QuantizeInt8 = float(const float* x, size_t count, size_t padded, int8_t* q, int32_t* sum);

// limits -32512 and 32512, s = 32512 / max
using QuantizeInt16 = float(const float* x, size_t count, size_t padded, int16_t* q);

// For activations that must not lose precision: v[k] = round_half_even(x[k] * s) in float64 with s
// = 2^30 / max(max|x|, 2^-126). v[k] / s differs from x[k] by at most 2^-31 of the largest |x|. v
// is stored as int8 digits: v[k] = sum over d = 0..3 of 256^d * q[d * padded + k]; zeros from
// `count` on.
using QuantizeDigits = double(const float* x, size_t count, size_t padded, int8_t* q);

// x in float64, in each 16 the 8 even ones before the 8 odd ones; zeros up to `padded`.
using WidenBf16 = void(const float* x, size_t count, size_t padded, double* out);

// y = (x * inverse) * weight with inverse = float32(1 / sqrt(sum of x^2 / k + epsilon)). The sum
// has 16 float64 lanes: lane l adds i = l, l+16, ... in this order, then lane l takes in l+8, l+4,
// l+2, l+1. Each square is exact. With a residual, sum = x + residual takes the place of x.
// weight: float32 [k], at any address
// residual and sum: [k], or null
// y: may be x
using RmsNormRow = void(size_t k, const float* x, const float* residual, float* sum,
                        const uint8_t* weight, float epsilon, float* y);

// out_low = low * cos - high * sin, out_high = high * cos + low * sin, each operation rounded
using Rotate = void(size_t count, const float* low, const float* high, const float* cos,
                    const float* sin, float* out_low, float* out_high);

// y[i] = float32(sums[i]) * scale
using ScaleSums = void(size_t count, const int32_t* sums, float scale, float* y);

// y[i] = float32(sums[i]) * (scales[i] / divisor); scales: float32 [count], at any address
using ScaleSumsEach = void(size_t count, const int32_t* sums, const uint8_t* scales, float divisor,
                           float* y);

// y[i] = s * up[i] with s = relu(y[i])^2, and +0 where s is 0
using GateRow = void(size_t count, const float* up, float* y);

// y[i] = silu(y[i]) * up[i] with silu(g) = g * ((g < 0 ? e : 1) / (1 + e)), e = exp(-|g|), where
// exp is that of attend_softmax.h
using SiluRow = void(size_t count, const float* up, float* y);

// y[i] = gelu(y[i]) * up[i] with gelu(g) = g * ((t < 0 ? e : 1) / (1 + e)), e = exp(-|t|),
// t = (g + ((g * g) * g) * kGeluCube) * kGeluTwice, and the same exp
using GeluRow = void(size_t count, const float* up, float* y);
constexpr float kGeluCube = 0.044715f, kGeluTwice = 1.5957691216057308f;  // 2 sqrt(2 / pi)

// y[i] += x[i] * share
using AddScaled = void(size_t count, const float* x, float share, float* y);

// float32(sum over i of x[i] * w[i]), summed as the squares of rms_norm; w: float32 [k], at any
// address. What follows w is prefetched.
using DotRow = float(size_t k, const float* x, const uint8_t* w);

// sums[i] += more[i]
using AddSums = void(size_t count, const int32_t* more, int32_t* sums);

// The same of float64.
using AddReals = void(size_t count, const double* more, double* sums);

// y[i] = float32(sums[i] / total)
using DivideReals = void(size_t count, const double* sums, double total, float* y);

#define KERNEL(isa, needs)              \
  QuantizeInt8 quantize_int8_##isa;     \
  QuantizeInt16 quantize_int16_##isa;   \
  QuantizeDigits quantize_digits_##isa; \
  WidenBf16 widen_bf16_##isa;           \
  RmsNormRow rms_norm_##isa;            \
  Rotate rotate_##isa;                  \
  ScaleSums scale_sums_##isa;           \
  ScaleSumsEach scale_sums_each_##isa;  \
  GateRow gate_##isa;                   \
  SiluRow silu_##isa;                   \
  GeluRow gelu_##isa;                   \
  AddScaled add_scaled_##isa;           \
  DotRow dot_##isa;                     \
  AddSums add_sums_##isa;               \
  AddReals add_reals_##isa;             \
  DivideReals divide_reals_##isa;
#include "kernels/rows/kernels.inc"

}  // namespace bitnet
