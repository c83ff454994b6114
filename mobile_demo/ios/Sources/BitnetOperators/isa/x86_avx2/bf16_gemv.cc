#define SOURCE "kernels/bf16_gemv/x86_avx2.cc"
#include "isa/x86_avx2.h"
