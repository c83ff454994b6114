#define SOURCE "kernels/attend_unpack_int4/arm_neon.cc"
#include "isa/arm_neon.h"
