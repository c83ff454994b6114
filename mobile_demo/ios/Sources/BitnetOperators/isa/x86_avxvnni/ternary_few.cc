#define SOURCE "kernels/ternary_few/x86_avxvnni.cc"
#include "isa/x86_avxvnni.h"
