#define ISA(name) name##_scalar
#define GEMM(name) name##_scalar
#define ROW(name) name##_scalar
#include "kernels/ternary_few/by_rows.inc"
