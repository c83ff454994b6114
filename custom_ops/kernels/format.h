// How weights and activations lie in memory, for every instruction set.
//
// Packed ternary weights, version 1. A row of K weights is ceil(K / 256) blocks; a block holds 256
// weights in 64 bytes, and kernels read it in place, at any address:
//
//     byte b of a block:   bits 7:6    5:4    3:2    1:0
//     codes of weights:    192 + b   128 + b  64 + b   b         code 0, 1, 2 = weight -1, 0, +1
//
// Activations past K are 0, so the codes there may be any. Code 3 occurs in no valid file; every
// kernel counts it as +2.
//
// Columns: the transposed matrix, packed in the same way. Row k holds what input k gives to each of
// the outputs: bits 2j, 2j+1 of byte c of its block b are the code of output 256 b + 64 j + c.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace bitnet {

constexpr size_t kBlockK = 256;
constexpr size_t kBlockBytes = 64;
// Weights with a scale for each group have one for this many along k: half a block.
constexpr size_t kGroupK = 128;
// Largest K: 128 * K <= 2^24, so a ternary sum converts to float32 without rounding.
constexpr size_t kMaxK = 131072;

// Activations are padded with zeros to a multiple of these many elements.
constexpr size_t kPadBf16 = 16;
constexpr size_t kPadInt8 = 64;
constexpr size_t kPadHead = 8;
// The largest 16-bit integer: 127 * 256, so that both bytes of it fit int8.
constexpr float kPeakInt16 = 32512.0f;

// Adding 1.5 * 2^23 leaves the nearest integer (ties to even) in the low bits of a float.
constexpr float kRoundMagic = 12582912.0f;
constexpr uint32_t kRoundMagicBits = 0x4b400000;

// exp(x) for x <= 0: see attend_softmax.h.
constexpr float kExpLeast = -87.0f;  // exp of it is still a normal number
constexpr float kLog2E = 1.44269504f;
constexpr float kLn2High = 0.693359375f;  // 9 bits: its products with n are exact
constexpr float kLn2Low = -2.12194440e-4f;
constexpr float kExpTerms[8] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24,
                                1.0f / 6,    0.5f,       1.0f,       1.0f};

}  // namespace bitnet
