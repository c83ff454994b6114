#define SOURCE "kernels/rows/arm_neon.cc"
#include "isa/arm_neon.h"
