// Which kernel runs: the first of the list that this CPU can run, or the forced one.
#pragma once

#include <stddef.h>

#include "kernels/kernel.h"

namespace bitnet {

// The kernels that this CPU can run, best first; the last is scalar.
size_t offered_kernels(const Kernel*** list);
// Their names, separated by commas.
const char* offered_names();

// The kernel with this name; the best one if it is null or empty; null if there is no such kernel
// or the CPU cannot run it.
const Kernel* find_kernel(const char* name);

// The value of BITNET_ONNX_KERNEL, or null.
const char* forced_name();

}  // namespace bitnet
