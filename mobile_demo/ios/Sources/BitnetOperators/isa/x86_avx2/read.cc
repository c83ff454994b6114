#define SOURCE "kernels/read/x86_avx2.cc"
#include "isa/x86_avx2.h"
