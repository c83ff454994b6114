// A few activation rows of 16-bit integers by weights of 4 or 6 bits.
//
// A weight is level * (code - zero): the zero is 8 of 4 bits, 32 of 6. A row is blocks of 256
// weights, each with 8 levels of int8: level j is that of the weights k with k / 4 % 8 = j, so that
// a lane of any vector has one level. Of code bits 3:0 and, for 6 bits, 5:4 a block has
//
//     byte b < 64:        bits 7:4  64 + b    3:0        b
//     byte 64 + b:        bits 7:4 192 + b    3:0  128 + b
//     byte 128 + b:       bits 7:6 192 + b    5:4  128 + b    3:2  64 + b    1:0  b
//
// The codes and levels of weights past K may be any, as activations past K are 0.
#pragma once

#include "kernels/format.h"
#include "platform/cpu.h"

namespace bitnet {

constexpr size_t kInt4Bytes = 128, kInt6Bytes = 192;  // of a block
constexpr size_t kLevels = 8;                         // of a block
constexpr size_t kLevelRows = 16;

// 256 activations q = 256 * high + low, both int8, since |q| <= 32512. sums[j] is the sum of those
// with level j; the upper half is 0.
struct alignas(64) SplitBlock {
  int8_t low[kBlockK], high[kBlockK];
  int32_t sums[2 * kLevels];
};

// sums[i * stride + n] = sum over k of q[i][k] * level * (code - zero) of w[n][k], i < m, n < rows
// m: 1 to kLevelRows
// x: m rows of `blocks`; codes: rows of `blocks` * kInt4Bytes or kInt6Bytes; levels: the same of
// kLevels
using LevelGemv = void(size_t m, size_t rows, size_t blocks, const SplitBlock* x,
                       const uint8_t* codes, const int8_t* levels, int64_t* sums, size_t stride);

// A group has 32 products of code - zero and q, and its level is an int8.
static_assert(32ll * 32 * 32512 <= INT32_MAX, "int32 sums of a group");

#define KERNEL(isa, needs) LevelGemv level_gemv_int4_##isa, level_gemv_int6_##isa;
#include "kernels/level_gemv/kernels.inc"

}  // namespace bitnet
