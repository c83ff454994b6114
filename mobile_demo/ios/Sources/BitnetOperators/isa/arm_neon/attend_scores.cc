#define SOURCE "kernels/attend_scores/arm_neon.cc"
#include "isa/arm_neon.h"
