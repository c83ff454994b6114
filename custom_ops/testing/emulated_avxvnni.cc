// Emulates AVX-VNNI for tests on CPUs that have AVX2 alone: the one instruction of its kernels,
// vpdpbusd, traps there and is computed here. A program linked with --wrap for detect_cpu offers
// the kernels.
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

#include "platform/cpu.h"

namespace {

constexpr size_t kLowHalves = 160, kHighHalves = 576;  // of the ymm registers, in XSAVE's layout

struct Vector {
  uint8_t byte[32];
};

Vector get(const uint8_t* state, int index) {
  Vector v;
  memcpy(v.byte, state + kLowHalves + 16 * index, 16);
  memcpy(v.byte + 16, state + kHighHalves + 16 * index, 16);
  return v;
}

void set(uint8_t* state, int index, const Vector& v) {
  memcpy(state + kLowHalves + 16 * index, v.byte, 16);
  memcpy(state + kHighHalves + 16 * index, v.byte + 16, 16);
}

// VEX.256.66.0F38.W0 50 /r on registers, as the compiler writes it: 5 bytes.
bool is_vpdpbusd(const uint8_t* code) {
  return code[0] == 0xc4 && (code[1] & 0x1f) == 2 && (code[2] & 0x87) == 5 && code[3] == 0x50 &&
         code[4] >= 0xc0;
}

// Each int32 of the first register += four u8 of the second times four s8 of the third (Intel's
// manual, volume 2, VPDPBUSD).
void vpdpbusd(const uint8_t* code, uint8_t* state) {
  const int first = (code[4] >> 3 & 7) | (code[1] & 0x80 ? 0 : 8);
  const int second = ~code[2] >> 3 & 15;
  const int third = (code[4] & 7) | (code[1] & 0x20 ? 0 : 8);
  Vector sums = get(state, first);
  const Vector u = get(state, second), s = get(state, third);
  for (int i = 0; i < 8; i++) {
    uint32_t sum;
    memcpy(&sum, sums.byte + 4 * i, 4);
    for (int j = 4 * i; j < 4 * i + 4; j++) {
      sum += static_cast<uint32_t>(u.byte[j] * static_cast<int8_t>(s.byte[j]));
    }
    memcpy(sums.byte + 4 * i, &sum, 4);
  }
  set(state, first, sums);
}

void on_trap(int, siginfo_t*, void* where) {
  mcontext_t& context = static_cast<ucontext_t*>(where)->uc_mcontext;
  const uint8_t* code = reinterpret_cast<const uint8_t*>(context.gregs[REG_RIP]);
  if (!is_vpdpbusd(code)) {
    signal(SIGILL, SIG_DFL);  // and the instruction traps again
    return;
  }
  for (; is_vpdpbusd(code); code += 5) vpdpbusd(code, reinterpret_cast<uint8_t*>(context.fpregs));
  context.gregs[REG_RIP] = reinterpret_cast<greg_t>(code);
}

}  // namespace

extern "C" uint32_t __real__ZN6bitnet10detect_cpuEv();
extern "C" uint32_t __wrap__ZN6bitnet10detect_cpuEv() {
  const uint32_t cpu = __real__ZN6bitnet10detect_cpuEv();
  if (!(cpu & bitnet::kCpuAvx2) || cpu & bitnet::kCpuAvxVnni) return cpu;
  struct sigaction trap = {};
  trap.sa_sigaction = on_trap;
  trap.sa_flags = SA_SIGINFO;
  sigaction(SIGILL, &trap, nullptr);
  return cpu | bitnet::kCpuAvxVnni;
}
