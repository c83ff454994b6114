#define SOURCE "kernels/bf16_gemv/arm_neon.cc"
#include "isa/arm_neon.h"
