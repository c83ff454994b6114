#define SOURCE "kernels/attend_values/arm_neon.cc"
#include "isa/arm_neon.h"
