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

// sums[n] = sum over k of q[k] * (code(n, k) - 1), q_sum = sum over k of q[k]
// q: 256 * blocks int8; w: rows of 64 * blocks bytes
using TernaryGemv = void (*)(size_t rows, size_t blocks, const int8_t* q, int32_t q_sum,
                             const uint8_t* w, int32_t* sums);

// sums[m * stride + n] = sum over k of q[m][k] * (code(n, k) - 1), q_sums[m] = sum of q[m]
// q: m rows of 256 * blocks int8; w: n rows of 64 * blocks bytes
using TernaryGemm = void (*)(size_t m, size_t n, size_t blocks, const int8_t* q,
                             const int32_t* q_sums, const uint8_t* w, int32_t* sums, size_t stride);

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

// The xor of all whole 8-byte words: reads memory as fast as one thread can.
using Read = uint64_t (*)(const uint8_t* data, size_t bytes);

struct Kernel {
  const char* name;
  uint32_t features;  // of the CPU, as in cpu.h
  TernaryGemv ternary_gemv;
  TernaryGemm ternary_gemm;
  TernaryGroup ternary_group;
  Bf16Gemv bf16_gemv;
  Int8Gemv int8_gemv;
  Read read;
};

// Every row of kernels.inc is one set of these functions.
#define KERNEL(isa, features)                                                                     \
  void ternary_gemv_##isa(size_t rows, size_t blocks, const int8_t* q, int32_t q_sum,             \
                          const uint8_t* w, int32_t* sums);                                       \
  void ternary_gemm_##isa(size_t m, size_t n, size_t blocks, const int8_t* q,                     \
                          const int32_t* q_sums, const uint8_t* w, int32_t* sums, size_t stride); \
  void ternary_group_##isa(size_t m, size_t n, size_t groups, const int8_t* q,                    \
                           const int32_t* q_sums, const uint8_t* w, const float* scale,           \
                           double* totals, size_t stride);                                        \
  void bf16_gemv_##isa(size_t rows, size_t k, const double* x, const uint8_t* w, float* y);       \
  void int8_gemv_##isa(size_t rows, size_t k, const int16_t* q, const uint8_t* w, int64_t* sums); \
  uint64_t read_##isa(const uint8_t* data, size_t bytes);
#include "kernels.inc"
#undef KERNEL

}  // namespace bitnet
