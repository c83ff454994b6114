// Which weights a step has to read: those that do not meet a zero.
#pragma once

#include "kernels/format.h"
#include "platform/cpu.h"

namespace bitnet {

constexpr size_t kSelectSlack = 16;  // elements after the last one that a list must have room for

// The places of q that are not 0, ascending, in `index`, and what is there in `values`. Both have
// room for count + kSelectSlack. Returns how many.
using SelectValues = size_t(size_t count, const int8_t* q, int32_t* index, int8_t* values);

// The gates, ascending, of which one of m rows is open: relu(y[i * stride + n])^2 is not 0. Not a
// number is open, too. `index` has room for count + kSelectSlack. Returns how many.
using SelectOpen = size_t(size_t m, size_t count, const float* y, size_t stride, int32_t* index);

#define KERNEL(isa, needs)          \
  SelectValues select_values_##isa; \
  SelectOpen select_open_##isa;
#include "kernels/select/kernels.inc"

}  // namespace bitnet
