// Which instruction sets the CPU and the operating system offer.
#pragma once

#include <stdint.h>

namespace bitnet {

constexpr uint32_t kCpuAvx2 = 1;        // AVX2, FMA and F16C
constexpr uint32_t kCpuAvx512Vnni = 2;  // AVX-512 F, BW, DQ, VL and VNNI
constexpr uint32_t kCpuAvxVnni = 4;     // AVX2, FMA, F16C and AVX-VNNI
constexpr uint32_t kCpuDotprod = 8;     // Arm: sdot; NEON itself is in every 64-bit CPU
constexpr uint32_t kCpuI8mm = 16;       // Arm: sdot and smmla

uint32_t detect_cpu();

}  // namespace bitnet
