#define ISA(name) name##_neon_i8mm
#define GEMM(name) name##_neon_i8mm
#define ROW(name) name##_neon_dotprod
#include "kernels/ternary_few/by_rows.inc"
