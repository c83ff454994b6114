#define SOURCE "kernels/attend_values/x86_avx512vnni.cc"
#include "isa/x86_avx512vnni.h"
