#define SOURCE "kernels/attend_scores_int8/arm_neon.cc"
#include "isa/arm_neon.h"
