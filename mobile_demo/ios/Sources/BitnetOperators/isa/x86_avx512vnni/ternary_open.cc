#define SOURCE "kernels/ternary_open/x86_avx512vnni.cc"
#include "isa/x86_avx512vnni.h"
