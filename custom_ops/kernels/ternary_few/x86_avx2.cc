#define ISA(name) name##_avx2
#define GEMM(name) name##_avx2
#define ROW(name) name##_avx2
#include "kernels/ternary_few/by_rows.inc"
