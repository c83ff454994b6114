#define SOURCE "kernels/ternary_columns/x86_avx2.cc"
#include "isa/x86_avx2.h"
