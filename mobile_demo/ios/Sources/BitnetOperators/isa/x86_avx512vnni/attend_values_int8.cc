#define SOURCE "kernels/attend_values_int8/x86_avx512vnni.cc"
#include "isa/x86_avx512vnni.h"
