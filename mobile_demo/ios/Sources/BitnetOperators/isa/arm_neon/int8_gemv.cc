#define SOURCE "kernels/int8_gemv/arm_neon.cc"
#include "isa/arm_neon.h"
