#define SOURCE "kernels/int8_gemv/arm_neon_dotprod.cc"
#include "isa/arm_neon_dotprod.h"
