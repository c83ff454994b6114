#define SOURCE "kernels/ternary_gemm/arm_neon_dotprod.cc"
#include "isa/arm_neon_dotprod.h"
