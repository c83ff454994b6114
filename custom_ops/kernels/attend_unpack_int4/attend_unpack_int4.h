// The rows of an int4 cache as those of an int8 one.
#pragma once

#include "kernels/attend.h"
#include "platform/cpu.h"

namespace bitnet {

// A row of d elements is ceil(d / 32) blocks of 17 bytes, at any address:
//
//     byte of a block:    0 ... 15: codes         16: multipliers
//     bits 3:0            of elements 0 ... 15    of elements 0 ... 15
//     bits 7:4            of elements 16 ... 31   of elements 16 ... 31
//
// x[t * d + i] = max((code - 8) * (multiplier + 2), -128) for t < positions, i < d
// x holds kCacheBlock elements more, which may get anything.
using AttendUnpackInt4 = void(size_t positions, size_t d, const uint8_t* packed, int8_t* x);

#define KERNEL(isa, needs) AttendUnpackInt4 attend_unpack_int4_##isa;
#include "kernels/attend_unpack_int4/kernels.inc"

}  // namespace bitnet
