#define ISA(name) name##_avxvnni
#define GEMM(name) name##_avxvnni
#define ROW(name) name##_avx2
#include "kernels/ternary_few/by_rows.inc"
