#define SOURCE "kernels/ternary_group/arm_neon.cc"
#include "isa/arm_neon.h"
