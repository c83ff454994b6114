#include "kernels/x86_avx2.h"

#include "kernels/ternary_few/ternary_few.h"

namespace bitnet {

using Packed = __m256i;
using Wide = __m256i;
using Sum = __m256i;  // 16 lanes of int16

static constexpr size_t kSegment = 5;  // 8 maddubs a block
static_assert(8 * kSegment <= kMaddubs, "int16 lanes");

static inline Sum add_products(Sum sum, __m256i codes, const int8_t* q) {
  return _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, load(q)));
}

static inline Wide widen(Wide wide, Sum sum) {
  return _mm256_add_epi32(wide, _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
}

}  // namespace bitnet

#include "kernels/ternary_few/x86.inc"

namespace bitnet {

// 10 sums, two packed vectors, the mask, codes and products: 15 of the 16 registers.
static const FewStep kSteps[] = {{4, products<4, 1>},
                                 {3, products<3, 2>},
                                 {2, products<2, 3>},
                                 {2, products<2, 4>},
                                 {2, products<2, 5>}};

}  // namespace bitnet

#define ISA(name) name##_avx2
#define GEMM(name) name##_avx2
#define COLUMNS(name) name##_avx2
#include "kernels/ternary_few/columns.inc"
#include "kernels/ternary_few/few.inc"
