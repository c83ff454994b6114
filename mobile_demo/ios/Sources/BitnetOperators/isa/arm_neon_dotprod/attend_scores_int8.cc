#define SOURCE "kernels/attend_scores_int8/arm_neon_dotprod.cc"
#include "isa/arm_neon_dotprod.h"
