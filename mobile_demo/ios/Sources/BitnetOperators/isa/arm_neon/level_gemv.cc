#define SOURCE "kernels/level_gemv/arm_neon.cc"
#include "isa/arm_neon.h"
