// Reads memory as fast as one thread can: what a benchmark compares with.
#pragma once

#include "kernels/format.h"
#include "platform/cpu.h"

namespace bitnet {

// The xor of all whole 8-byte words.
using Read = uint64_t(const uint8_t* data, size_t bytes);

#define KERNEL(isa, needs) Read read_##isa;
#include "kernels/read/kernels.inc"

}  // namespace bitnet
