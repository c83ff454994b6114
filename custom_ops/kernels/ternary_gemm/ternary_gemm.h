// Many activation rows by ternary weights, stored by row or by column.
#pragma once

#include "kernels/format.h"
#include "platform/cpu.h"

namespace bitnet {

// sums[m * stride + n] = sum over k of q[m][k] * (code(n, k) - 1), q_sums[m] = sum of q[m]
// q: m rows of 256 * blocks int8
// w: n rows of 64 * blocks bytes
using TernaryGemm = void(size_t m, size_t n, size_t blocks, const int8_t* q, const int32_t* q_sums,
                         const uint8_t* w, int32_t* sums, size_t stride);
// A multiple of this many weight rows keeps every tile full.
constexpr size_t kTileN = 32;
// This many pay for the tables of a kernel that has some.
constexpr size_t kRowsZen4 = 1024;

// sums[i * stride + n] = sum over k < count of q[i][k] * (code(k, n) - 1) for n < 256 * blocks,
// i < m
// q: m rows of count int8 and zeros up to a multiple of 256, which may be read; q_stride bytes from
// row to row
// q_sums[i] = sum of q[i]
// w: `blocks` blocks, next to each other, of each of `count` rows, row_bytes from row to row
using TernaryColumnsGemm = void(size_t m, size_t count, size_t blocks, const int8_t* q,
                                size_t q_stride, const int32_t* q_sums, const uint8_t* w,
                                size_t row_bytes, int32_t* sums, size_t stride);

// The same for some of the rows, or all. Where an index, ascending, names the rows, m is at most
// kFewActivations, and q has zeros only up to a multiple of 4. ternary_columns_gemm and
// ternary_columns_few are made of it, but for scalar and AVX-512.
using TernaryColumnsBlocks = void(size_t m, size_t count, size_t blocks, const int8_t* q,
                                  size_t q_stride, const int32_t* q_sums, const uint8_t* w,
                                  size_t row_bytes, const int32_t* index, int32_t* sums,
                                  size_t stride);

#define KERNEL(isa, needs, rows)                 \
  TernaryGemm ternary_gemm_##isa;                \
  TernaryColumnsGemm ternary_columns_gemm_##isa; \
  TernaryColumnsBlocks ternary_columns_blocks_##isa;
#include "kernels/ternary_gemm/kernels.inc"

}  // namespace bitnet
