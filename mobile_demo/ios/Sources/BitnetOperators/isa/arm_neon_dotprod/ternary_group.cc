#define SOURCE "kernels/ternary_group/arm_neon_dotprod.cc"
#include "isa/arm_neon_dotprod.h"
