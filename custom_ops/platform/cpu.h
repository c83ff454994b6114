// Which instruction sets the CPU and the operating system offer.
#pragma once

#include <stdint.h>

#include "platform/compiler.h"

namespace bitnet {

// What a kernel may need, as bits.
constexpr uint32_t kCpuAvx2 = 1;        // AVX2, FMA and F16C
constexpr uint32_t kCpuAvx512Vnni = 2;  // AVX-512 F, BW, DQ, VL and VNNI
constexpr uint32_t kCpuAvxVnni = 4;     // AVX-VNNI
constexpr uint32_t kCpuNeon = 8;        // Arm: in every 64-bit CPU
constexpr uint32_t kCpuDotprod = 16;    // Arm: sdot
constexpr uint32_t kCpuI8mm = 32;       // Arm: smmla
constexpr uint32_t kCpuZen4 = 64;       // AMD, with AVX-512 VBMI
constexpr uint32_t kCpuZen5 = 128;      // Zen 4, with AVX-VNNI: multiplies 512 bits at once

// All bits of this CPU. Zen 5 implies Zen 4, that AVX-512 VNNI, and that, as AVX-VNNI, AVX2; i8mm
// implies dotprod, and that NEON.
uint32_t detect_cpu();

// A kind of CPU that BITNET_ONNX_KERNEL can name.
struct Cpu {
  const char* name;
  uint32_t features;
};

// Best first; the last is any CPU.
constexpr Cpu kCpus[] = {
#if BITNET_X86
    {"zen5", kCpuAvx2 | kCpuAvx512Vnni | kCpuZen4 | kCpuZen5},
    {"zen4", kCpuAvx2 | kCpuAvx512Vnni | kCpuZen4},
    {"avx512vnni", kCpuAvx2 | kCpuAvx512Vnni},
    {"avxvnni", kCpuAvx2 | kCpuAvxVnni},
    {"avx2", kCpuAvx2},
#endif
#if BITNET_ARM
    {"neon_i8mm", kCpuNeon | kCpuDotprod | kCpuI8mm},
    {"neon_dotprod", kCpuNeon | kCpuDotprod},
    {"neon", kCpuNeon},
#endif
    {"scalar", 0},
};
constexpr size_t kCpuCount = sizeof kCpus / sizeof kCpus[0];

// Whether a CPU with `features` has all that `needs` names.
inline bool has_all(uint32_t features, uint32_t needs) { return (features & needs) == needs; }

}  // namespace bitnet
