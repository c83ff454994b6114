#define SOURCE "kernels/ternary_group/x86_avx512vnni.cc"
#include "isa/x86_avx512vnni.h"
