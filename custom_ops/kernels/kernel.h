// What a kernel is: pure functions on pointers. A kernel never allocates, starts threads, logs,
// throws or reads the environment; weights may lie at any address, scratch of the caller does not.
// The results are exact, so every instruction set gives the same bits.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Before a loop over an array of registers: unrolled early, so that the array really lives in them.
#if defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 16")
#else
#define UNROLL
#endif
// Before a short loop with much in it: GCC 12 would unroll it whole, put all that goes to one sum
// together, a chain that waits for itself, and keep the other sums in memory.
#if defined(__GNUC__)
#define ROLLED _Pragma("GCC unroll 1")
#else
#define ROLLED
#endif
#if defined(__GNUC__)
#define RESTRICT __restrict__
#define PREFETCH(p) __builtin_prefetch(p)
#else
#define RESTRICT __restrict
#define PREFETCH(p) static_cast<void>(p)
#endif
// Long, and called for much work at a time: inlined copies would only make the library larger.
#if defined(__GNUC__)
#define NOINLINE __attribute__((noinline, unused))
#else
#define NOINLINE __declspec(noinline)
#endif

namespace bitnet {

// Largest K: 128 * K <= 2^24, so that a ternary sum converts to float32 without rounding.
constexpr size_t kMaxK = 131072;
// Packed ternary weights come in blocks of 256 weights in 64 bytes; bits 2j, 2j+1 of byte b hold
// the code of weight 64j + b, and code c stands for weight c - 1 (so the unused code 3 is +2).
constexpr size_t kBlockK = 256;
constexpr size_t kBlockBytes = 64;
// Weights with a scale for each group have it for this many along k: half a block.
constexpr size_t kGroupK = 128;
// A multiple of this many weight rows keeps every tile of ternary_gemm full.
constexpr size_t kTileN = 32;
// Activations that a kernel reads are padded with zeros to a multiple of these many elements.
constexpr size_t kPadBf16 = 16;
constexpr size_t kPadInt8 = 64;
constexpr size_t kPadHead = 8;
// Most rows (heads that share their keys and values) of one call of an attention kernel.
constexpr size_t kAttendRows = 4;
constexpr size_t kAttendAhead = 16;  // positions: some KB of keys or values
// Positions whose values have sums of their own, which are then added up in order.
constexpr size_t kAttendSpan = 64;
// Widest head with int8 keys: a score is a sum of so many products with 16-bit integers, in int32.
constexpr size_t kAttendDepth = 512;
static_assert(kAttendDepth * 32512 * 128 <= INT32_MAX, "int32 scores");

// sums[n] = sum over k of q[k] * (code(n, k) - 1), q_sum = sum over k of q[k]
// q: 256 * blocks int8; w: rows of 64 * blocks bytes
using TernaryGemv = void (*)(size_t rows, size_t blocks, const int8_t* q, int32_t q_sum,
                             const uint8_t* w, int32_t* sums);

// sums[m * stride + n] = sum over k of q[m][k] * (code(n, k) - 1), q_sums[m] = sum of q[m]
// q: m rows of 256 * blocks int8; w: n rows of 64 * blocks bytes
using TernaryGemm = void (*)(size_t m, size_t n, size_t blocks, const int8_t* q,
                             const int32_t* q_sums, const uint8_t* w, int32_t* sums, size_t stride);

// sums[i] = sum over k of q[k] * (code(index[i], k) - 1) for i < count; q_sum = sum over k of q[k]
// As TernaryGemv, for the rows of w that `index` names: any of them, ascending. It has `known` of
// them, at least `count`: those from `count` on come next, and are prefetched.
using TernarySelect = void (*)(size_t count, size_t known, size_t blocks, const int8_t* q,
                               int32_t q_sum, const uint8_t* w, const int32_t* index,
                               int32_t* sums);

// Columns: the same packing of the transposed matrix. Row k of w holds what input k gives to each
// of the outputs: bits 2j, 2j+1 of byte c of its block b are the code of output 256 b + 64 j + c.

// sums[n] = sum over i < count of q[i] * (code(index[i], n) - 1) for n < 256 * blocks
// w: rows of 64 * blocks bytes; index: at most kMaxK of them, ascending; q: any int8
using TernaryColumns = void (*)(size_t count, size_t blocks, const int32_t* index, const int8_t* q,
                                const uint8_t* w, int32_t* sums);

// sums[i * stride + n] = sum over k < count of q[i][k] * (code(k, n) - 1) for n < 256, i < m;
// q_sums[i] = sum of q[i]
// w: one block of each of `count` rows, row_bytes apart; q: m rows, q_stride bytes apart, of count
// int8 and zeros up to a multiple of 256, which may be read
using TernaryColumnsGemm = void (*)(size_t m, size_t count, const int8_t* q, size_t q_stride,
                                    const int32_t* q_sums, const uint8_t* w, size_t row_bytes,
                                    int32_t* sums, size_t stride);

// totals[m * stride + n] = sum over g = 0, 1, ... of sum(m, n, g) * scale[n][g], in float64 and in
// this order, from 0; sum(m, n, g) = sum over k of group g of q[m][k] * (code(n, k) - 1) and
// q_sums[m][g] = sum over k of group g of q[m][k]
// |sum| <= 2^15 by 24 bits of scale: each product is exact, so fused or not gives the same bits.
// q: m rows of 256 * blocks int8, blocks = ceil(groups / 2), zeros past the last group; q_sums: m
// rows of `groups`; w: n rows of 64 * blocks bytes; scale: n rows of `groups` at any address
using TernaryGroup = void (*)(size_t m, size_t n, size_t groups, const int8_t* q,
                              const int32_t* q_sums, const uint8_t* w, const float* scale,
                              double* totals, size_t stride);
// So many rows of q go over the weights together, as these come from memory; more of them go over
// panels that are unpacked for all.
constexpr size_t kFewRows = 4;

// y[n] = float32(sum over k of x[k] * w[n][k]) in 16 float64 lanes: lane l adds k = l, l+16, ...
// in this order, then lane l takes in l+8, l+4, l+2, l+1. Each product is exact in float64.
// w: rows of k bfloat16; x: float64, and in each 16 the 8 even k come before the 8 odd ones
using Bf16Gemv = void (*)(size_t rows, size_t k, const double* x, const uint8_t* w, float* y);

// sums[n] = sum over k of q[k] * w[n][k]; |q| <= 32512
// w: rows of k int8
using Int8Gemv = void (*)(size_t rows, size_t k, const int16_t* q, const uint8_t* w, int64_t* sums);

// scores[r * stride + t] = float32(sum over i < d of q[r][i] * k[t][i]) / root for t < positions,
// in 8 float64 lanes: lane l adds i = l, l+8, ... in this order, then lane l takes in l+4, l+2,
// l+1. q: rows of d float64 that hold float32 values, each padded with zeros to a multiple of
// kPadHead; k: rows of d float32, or of d float16, which are made float32 as they are
template <typename Cache>
using AttendScores = void (*)(size_t rows, size_t positions, size_t d, const double* q,
                              const Cache* k, float root, float* scores, size_t stride);

// weights[t] = exp(scores[t] - max of the scores); the sum of them, in 16 float64 lanes: lane l
// adds t = l, l+16, ... in this order, then lane l takes in l+8, l+4, l+2, l+1. exp in float32,
// each operation rounded (1 ulp from the true value, exp_test in test.cc): x is at least kExpLeast,
// n = x * kLog2E rounded half to even, r = (x - n * kLn2High) - n * kLn2Low, exp(x) = (1 + r * (1 +
// r * (1/2! + ... + r * 1/7!))) * 2^n. A NaN or an infinite maximum makes the sum NaN.
using AttendSoftmax = double (*)(size_t positions, const float* scores, double* weights);

// sums[r * s_stride + i] += weights[r * stride + t] * v[t * d + i] for t = 0, 1, ..., i < width.
// Each product is exact: the weights hold float32 values. A row of sums is padded to a multiple of
// kPadHead, whatever that holds. For a few positions at a time, so that v stays in the first cache
// for all rows: the positions kAttendAhead further on are prefetched in the order of memory.
template <typename Cache>
using AttendValues = void (*)(size_t rows, size_t positions, size_t width, size_t d,
                              const double* weights, size_t stride, const Cache* v, double* sums,
                              size_t s_stride);

// scores[r * stride + t] = (float32(sum over i < d of q[r][i] * k[t * d + i]) * k_scale[t]) *
// factor[r] for t < positions, each operation rounded; d <= kAttendDepth
// q: rows of d, |q| <= 32512, each padded with zeros to a multiple of kPadInt8; k: rows of d int8;
// next: what is read later, prefetched meanwhile, as many bytes as of k
using AttendScoresInt8 = void (*)(size_t rows, size_t positions, size_t d, const int16_t* q,
                                  const int8_t* k, const float* k_scale, const float* factor,
                                  const int8_t* next, float* scores, size_t stride);

// p[r * kAttendSpan + t] = round_half_even(x[t] * s) for t < positions <= kAttendSpan, and zeros
// from there on, with x[t] = float32(weights[r * stride + t]) * v_scale[t],
// s = 32512 / max(max|x|, 1e-30); scale[r] = 1 / s, all in float32, each operation rounded. Zeros
// and NaN where an x is not finite.
// weights: float64 that hold float32 values
using AttendWeightsInt8 = void (*)(size_t rows, size_t positions, const double* weights,
                                   size_t stride, const float* v_scale, int16_t* p, double* scale);

// sums[r * s_stride + i] += float64(sum over t < positions of p[r][t] * v[t * d + i]) * scale[r]
// for i < d; positions <= kAttendSpan. The sum is below 2^28 and the scale holds a float32 value:
// the product is exact, so fused or not gives the same bits.
// p: rows of kAttendSpan, |p| <= 32512, zeros from `positions` on; v: rows of d int8. A row of sums
// is padded to a multiple of kPadHead, whatever that holds.
using AttendValuesInt8 = void (*)(size_t rows, size_t positions, size_t d, const int16_t* p,
                                  const int8_t* v, const double* scale, double* sums,
                                  size_t s_stride);
static_assert(kAttendSpan * 32512 * 128 < 1 << 28, "28 bits, and 24 of the scale");

// Activations to integers, one row (token) at a time.
// q[k] = clamp(round_half_even(x[k] * s)) with s = limit / max(max|x|, 1e-5).
// Zeros fill q from `count` to `padded`. Returns s, or NaN when x holds a NaN or an infinity: q is
// then all zeros. x may lie at any address.

// limits -128 and 127, s = 127 / max; *sum gets the sum of q
using QuantizeInt8 = float (*)(const float* x, size_t count, size_t padded, int8_t* q,
                               int32_t* sum);

// limits -32512 and 32512, s = 32512 / max
using QuantizeInt16 = float (*)(const float* x, size_t count, size_t padded, int16_t* q);

// Activations that must not lose precision: v[k] = round_half_even(x[k] * s) in float64 with
// s = 2^30 / max(max|x|, 2^-126), so that v[k] / s is x[k] to 2^-31 of the largest |x|. v is stored
// as int8 digits: v[k] = sum over d = 0..3 of 256^d * q[d * padded + k]; zeros from `count` on.
using QuantizeDigits = double (*)(const float* x, size_t count, size_t padded, int8_t* q);

// x in float64, in each 16 the 8 even ones before the 8 odd ones; zeros up to `padded`.
using WidenBf16 = void (*)(const float* x, size_t count, size_t padded, double* out);

// y = (x * inverse) * weight with inverse = float32(1 / sqrt(sum of x^2 / k + epsilon)). The sum is
// float64 in 16 lanes: lane l adds i = l, l+16, ... in this order, then lane l takes in l+8, l+4,
// l+2, l+1; each square is exact. With a residual, sum = x + residual takes the place of x.
// weight: float32 [k], at any address; residual and sum: [k], or null
using RmsNormRow = void (*)(size_t k, const float* x, const float* residual, float* sum,
                            const uint8_t* weight, float epsilon, float* y);

// out_low = low * cos - high * sin, out_high = high * cos + low * sin, each operation rounded
using Rotate = void (*)(size_t count, const float* low, const float* high, const float* cos,
                        const float* sin, float* out_low, float* out_high);

constexpr float kExpLeast = -87.0f;  // exp of it is still a normal number
constexpr float kLog2E = 1.44269504f;
constexpr float kLn2High = 0.693359375f;  // 9 bits: its products with n are exact
constexpr float kLn2Low = -2.12194440e-4f;
constexpr float kExpTerms[8] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24,
                                1.0f / 6,    0.5f,       1.0f,       1.0f};
// Adding 1.5 * 2^23 leaves the integer nearest (ties to even) in the low bits of a float.
constexpr float kRoundMagic = 12582912.0f;
constexpr uint32_t kRoundMagicBits = 0x4b400000;

// Of the weights of values, as whole numbers.
constexpr float kPeakInt16 = 32512.0f;
constexpr float kLeastPeak = 1e-30f;

// The xor of all whole 8-byte words: reads memory as fast as one thread can.
using Read = uint64_t (*)(const uint8_t* data, size_t bytes);

struct Kernel {
  const char* name;
  uint32_t features;  // of the CPU, as in cpu.h
  TernaryGemv ternary_gemv;
  TernaryGemm ternary_gemm;
  TernarySelect ternary_select;
  TernaryColumns ternary_columns;
  TernaryColumnsGemm ternary_columns_gemm;
  TernaryGroup ternary_group;
  Bf16Gemv bf16_gemv;
  Int8Gemv int8_gemv;
  AttendScores<float> attend_scores;
  AttendScores<uint16_t> attend_scores_f16;
  AttendSoftmax attend_softmax;
  AttendValues<float> attend_values;
  AttendValues<uint16_t> attend_values_f16;
  AttendScoresInt8 attend_scores_int8;
  AttendWeightsInt8 attend_weights_int8;
  AttendValuesInt8 attend_values_int8;
  QuantizeInt8 quantize_int8;
  QuantizeInt16 quantize_int16;
  QuantizeDigits quantize_digits;
  WidenBf16 widen_bf16;
  RmsNormRow rms_norm;
  Rotate rotate;
  Read read;
};

// Every row of kernels.inc is one set of these functions: `gemm`, `ints`, `floats` and `loops` are
// the instruction sets whose GEMMs, other integer functions, float functions and loops over rows
// (rows.inc) it takes. Some are declared more than once.
#define KERNEL(isa, features, gemm, ints, floats, loops)                                           \
  void ternary_gemv_##ints(size_t rows, size_t blocks, const int8_t* q, int32_t q_sum,             \
                           const uint8_t* w, int32_t* sums);                                       \
  void ternary_gemm_##gemm(size_t m, size_t n, size_t blocks, const int8_t* q,                     \
                           const int32_t* q_sums, const uint8_t* w, int32_t* sums, size_t stride); \
  void ternary_select_##ints(size_t count, size_t known, size_t blocks, const int8_t* q,           \
                             int32_t q_sum, const uint8_t* w, const int32_t* index,                \
                             int32_t* sums);                                                       \
  void ternary_columns_##ints(size_t count, size_t blocks, const int32_t* index, const int8_t* q,  \
                              const uint8_t* w, int32_t* sums);                                    \
  void ternary_columns_gemm_##gemm(size_t m, size_t count, const int8_t* q, size_t q_stride,       \
                                   const int32_t* q_sums, const uint8_t* w, size_t row_bytes,      \
                                   int32_t* sums, size_t stride);                                  \
  void ternary_group_##ints(size_t m, size_t n, size_t groups, const int8_t* q,                    \
                            const int32_t* q_sums, const uint8_t* w, const float* scale,           \
                            double* totals, size_t stride);                                        \
  void bf16_gemv_##floats(size_t rows, size_t k, const double* x, const uint8_t* w, float* y);     \
  void int8_gemv_##ints(size_t rows, size_t k, const int16_t* q, const uint8_t* w, int64_t* sums); \
  void attend_scores_##floats(size_t rows, size_t positions, size_t d, const double* q,            \
                              const float* k, float root, float* scores, size_t stride);           \
  void attend_scores_f16_##floats(size_t rows, size_t positions, size_t d, const double* q,        \
                                  const uint16_t* k, float root, float* scores, size_t stride);    \
  double attend_softmax_##floats(size_t positions, const float* scores, double* weights);          \
  void attend_values_##floats(size_t rows, size_t positions, size_t width, size_t d,               \
                              const double* weights, size_t stride, const float* v, double* sums,  \
                              size_t s_stride);                                                    \
  void attend_values_f16_##floats(size_t rows, size_t positions, size_t width, size_t d,           \
                                  const double* weights, size_t stride, const uint16_t* v,         \
                                  double* sums, size_t s_stride);                                  \
  void attend_scores_int8_##ints(size_t rows, size_t positions, size_t d, const int16_t* q,        \
                                 const int8_t* k, const float* k_scale, const float* factor,       \
                                 const int8_t* next, float* scores, size_t stride);                \
  void attend_weights_int8_##floats(size_t rows, size_t positions, const double* weights,          \
                                    size_t stride, const float* v_scale, int16_t* p,               \
                                    double* scale);                                                \
  void attend_values_int8_##ints(size_t rows, size_t positions, size_t d, const int16_t* p,        \
                                 const int8_t* v, const double* scale, double* sums,               \
                                 size_t s_stride);                                                 \
  float quantize_int8_##loops(const float* x, size_t count, size_t padded, int8_t* q,              \
                              int32_t* sum);                                                       \
  float quantize_int16_##loops(const float* x, size_t count, size_t padded, int16_t* q);           \
  double quantize_digits_##loops(const float* x, size_t count, size_t padded, int8_t* q);          \
  void widen_bf16_##loops(const float* x, size_t count, size_t padded, double* out);               \
  void rms_norm_##loops(size_t k, const float* x, const float* residual, float* sum,               \
                        const uint8_t* weight, float epsilon, float* y);                           \
  void rotate_##loops(size_t count, const float* low, const float* high, const float* cos,         \
                      const float* sin, float* out_low, float* out_high);                          \
  uint64_t read_##floats(const uint8_t* data, size_t bytes);
#include "kernels/kernels.inc"
#undef KERNEL

}  // namespace bitnet
