#define SOURCE "kernels/ternary_gemm/arm_neon_i8mm.cc"
#include "isa/arm_neon_i8mm.h"
