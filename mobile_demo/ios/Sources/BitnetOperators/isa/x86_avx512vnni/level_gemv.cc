#define SOURCE "kernels/level_gemv/x86_avx512vnni.cc"
#include "isa/x86_avx512vnni.h"
