#define SOURCE "kernels/ternary_gemv/arm_neon.cc"
#include "isa/arm_neon.h"
