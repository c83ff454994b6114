#define SOURCE "kernels/read/arm_neon.cc"
#include "isa/arm_neon.h"
