#define SOURCE "kernels/attend_weights_int8/x86_avx512vnni.cc"
#include "isa/x86_avx512vnni.h"
