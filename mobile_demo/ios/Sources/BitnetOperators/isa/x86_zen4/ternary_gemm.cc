#define SOURCE "kernels/ternary_gemm/x86_zen4.cc"
#include "isa/x86_zen4.h"
