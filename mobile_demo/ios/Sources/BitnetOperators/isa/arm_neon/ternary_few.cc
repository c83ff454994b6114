#define SOURCE "kernels/ternary_few/arm_neon.cc"
#include "isa/arm_neon.h"
