#define SOURCE "kernels/attend_softmax/x86_avx2.cc"
#include "isa/x86_avx2.h"
