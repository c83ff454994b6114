#define SOURCE "kernels/rows/x86_avx2.cc"
#include "isa/x86_avx2.h"
