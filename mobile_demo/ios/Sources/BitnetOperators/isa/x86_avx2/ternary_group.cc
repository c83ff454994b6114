#define SOURCE "kernels/ternary_group/x86_avx2.cc"
#include "isa/x86_avx2.h"
