#define SOURCE "kernels/ternary_few/arm_neon_dotprod.cc"
#include "isa/arm_neon_dotprod.h"
