#define ISA(name) name##_neon_dotprod
#define GEMM(name) name##_neon_dotprod
#define ROW(name) name##_neon_dotprod
#include "kernels/ternary_few/by_rows.inc"
