#define SOURCE "kernels/select/x86_avx2.cc"
#include "isa/x86_avx2.h"
