// Compiles SOURCE for CPUs of this kind, and for no processor of another family.
#include "platform/compiler.h"
#if BITNET_ARM
#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#include SOURCE
#pragma clang attribute pop
#endif
