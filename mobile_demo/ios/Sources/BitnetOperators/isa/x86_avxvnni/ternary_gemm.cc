#define SOURCE "kernels/ternary_gemm/x86_avxvnni.cc"
#include "isa/x86_avxvnni.h"
