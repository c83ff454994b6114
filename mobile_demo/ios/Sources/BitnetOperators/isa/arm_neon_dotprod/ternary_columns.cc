#define SOURCE "kernels/ternary_columns/arm_neon_dotprod.cc"
#include "isa/arm_neon_dotprod.h"
