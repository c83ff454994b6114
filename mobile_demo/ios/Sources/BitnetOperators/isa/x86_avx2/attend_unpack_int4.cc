#define SOURCE "kernels/attend_unpack_int4/x86_avx2.cc"
#include "isa/x86_avx2.h"
