#define SOURCE "kernels/level_gemv/arm_neon_dotprod.cc"
#include "isa/arm_neon_dotprod.h"
