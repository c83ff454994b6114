#define SOURCE "kernels/ternary_gemv/x86_avx2.cc"
#include "isa/x86_avx2.h"
