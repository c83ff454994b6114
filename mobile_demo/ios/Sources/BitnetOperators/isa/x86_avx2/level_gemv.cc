#define SOURCE "kernels/level_gemv/x86_avx2.cc"
#include "isa/x86_avx2.h"
