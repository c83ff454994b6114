#define SOURCE "kernels/bf16_gemv/x86_avx512vnni.cc"
#include "isa/x86_avx512vnni.h"
