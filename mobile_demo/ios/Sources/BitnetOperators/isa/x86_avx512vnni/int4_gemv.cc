#define SOURCE "kernels/int4_gemv/x86_avx512vnni.cc"
#include "isa/x86_avx512vnni.h"
