#define SOURCE "kernels/attend_scores/x86_avx512vnni.cc"
#include "isa/x86_avx512vnni.h"
