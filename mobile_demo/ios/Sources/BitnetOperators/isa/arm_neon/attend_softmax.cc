#define SOURCE "kernels/attend_softmax/arm_neon.cc"
#include "isa/arm_neon.h"
