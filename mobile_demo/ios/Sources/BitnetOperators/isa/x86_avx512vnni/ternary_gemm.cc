#define SOURCE "kernels/ternary_gemm/x86_avx512vnni.cc"
#include "isa/x86_avx512vnni.h"
