#define SOURCE "kernels/int4_gemv/arm_neon.cc"
#include "isa/arm_neon.h"
