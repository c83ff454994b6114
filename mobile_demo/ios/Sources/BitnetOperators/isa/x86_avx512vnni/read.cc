#define SOURCE "kernels/read/x86_avx512vnni.cc"
#include "isa/x86_avx512vnni.h"
