#define SOURCE "kernels/attend_values_int8/x86_avx2.cc"
#include "isa/x86_avx2.h"
