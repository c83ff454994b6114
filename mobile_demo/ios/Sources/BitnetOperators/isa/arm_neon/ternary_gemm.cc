#define SOURCE "kernels/ternary_gemm/arm_neon.cc"
#include "isa/arm_neon.h"
