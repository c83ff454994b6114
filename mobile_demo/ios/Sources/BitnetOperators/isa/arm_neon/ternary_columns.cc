#define SOURCE "kernels/ternary_columns/arm_neon.cc"
#include "isa/arm_neon.h"
