#include "platform/cpu.h"

#if defined(_MSC_VER) && defined(_M_X64)
#include <intrin.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#elif defined(_WIN32)
#include <windows.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace bitnet {

#if BITNET_X86
struct Registers {
  uint32_t eax, ebx, ecx, edx;
};

#if defined(_MSC_VER) && defined(_M_X64)
static Registers cpuid(uint32_t leaf, uint32_t sub = 0) {
  int r[4];
  __cpuidex(r, static_cast<int>(leaf), static_cast<int>(sub));
  return {uint32_t(r[0]), uint32_t(r[1]), uint32_t(r[2]), uint32_t(r[3])};
}
static uint64_t saved_state() { return _xgetbv(0); }
#else
static Registers cpuid(uint32_t leaf, uint32_t sub = 0) {
  Registers r;
  __cpuid_count(leaf, sub, r.eax, r.ebx, r.ecx, r.edx);
  return r;
}
// The registers that the operating system keeps over a task switch.
static uint64_t saved_state() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}
#endif

static bool bit(uint32_t word, int index) { return (word >> index) & 1; }

uint32_t detect_cpu() {
  const Registers zero = cpuid(0);
  if (zero.eax < 7) return 0;
  const Registers one = cpuid(1), seven = cpuid(7);
  const bool osxsave = bit(one.ecx, 27), fma = bit(one.ecx, 12);
  const bool f16c = bit(one.ecx, 29);
  if (!osxsave) return 0;
  const uint64_t state = saved_state();
  const bool ymm = (state & 0x06) == 0x06, zmm = (state & 0xe6) == 0xe6;
  uint32_t features = 0;
  const bool avx2 = ymm && fma && f16c && bit(seven.ebx, 5);
  if (avx2) features |= kCpuAvx2;
  if (avx2 && seven.eax >= 1 && bit(cpuid(7, 1).eax, 4)) features |= kCpuAvxVnni;
  const bool f = bit(seven.ebx, 16), dq = bit(seven.ebx, 17), bw = bit(seven.ebx, 30);
  const bool vl = bit(seven.ebx, 31), vnni = bit(seven.ecx, 11);
  if (avx2 && zmm && f && dq && bw && vl && vnni) features |= kCpuAvx512Vnni;
  const bool amd = zero.ebx == 0x68747541;  // Auth[enticAMD]
  if (amd && bit(seven.ecx, 1) && has_all(features, kCpuAvx512Vnni)) {
    features |= kCpuZen4 | (features & kCpuAvxVnni ? kCpuZen5 : 0);
  }
  return features;
}
#elif BITNET_ARM
#if defined(_WIN32)
static bool has_dotprod() {
  return IsProcessorFeaturePresent(PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE);
}
static bool has_i8mm() {
#if defined(PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE)  // not in older SDKs
  return IsProcessorFeaturePresent(PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE);
#else
  return false;
#endif
}
#elif defined(__APPLE__)
static bool has(const char* name) {
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}
static bool has_dotprod() { return has("hw.optional.arm.FEAT_DotProd"); }
static bool has_i8mm() { return has("hw.optional.arm.FEAT_I8MM"); }
#elif defined(__linux__)
// Bits of the Linux interface; older headers lack their names.
static bool has_dotprod() { return getauxval(AT_HWCAP) >> 20 & 1; }  // HWCAP_ASIMDDP
static bool has_i8mm() { return getauxval(AT_HWCAP2) >> 13 & 1; }    // HWCAP2_I8MM
#else
static bool has_dotprod() { return false; }
static bool has_i8mm() { return false; }
#endif

uint32_t detect_cpu() {
  if (!has_dotprod()) return kCpuNeon;
  return kCpuNeon | kCpuDotprod | (has_i8mm() ? kCpuI8mm : 0);
}
#else
uint32_t detect_cpu() { return 0; }
#endif

}  // namespace bitnet
