// Compiles SOURCE for CPUs of this kind, and for no processor of another family.
#include "platform/compiler.h"
#if BITNET_X86
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#pragma clang attribute push(                                                               \
    __attribute__((                                                                         \
        target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi"))), \
    apply_to = function)
#include SOURCE
#pragma clang attribute pop
#endif
