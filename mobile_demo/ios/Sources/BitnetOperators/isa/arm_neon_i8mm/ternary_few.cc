#define SOURCE "kernels/ternary_few/arm_neon_i8mm.cc"
#include "isa/arm_neon_i8mm.h"
