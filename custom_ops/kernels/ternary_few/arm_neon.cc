#define ISA(name) name##_neon
#define GEMM(name) name##_neon
#define ROW(name) name##_neon
#include "kernels/ternary_few/by_rows.inc"
