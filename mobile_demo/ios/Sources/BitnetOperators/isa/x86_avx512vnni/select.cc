#define SOURCE "kernels/select/x86_avx512vnni.cc"
#include "isa/x86_avx512vnni.h"
