#include "kernels/ternary_few/ternary_few.h"
#include "kernels/x86_avx2.h"

namespace bitnet {

using Packed = __m256i;
using Wide = __m256i;
using Sum = __m256i;  // 8 lanes of int32

static constexpr size_t kSegment = kMaxK / kBlockK;
static_assert(3ll * 128 * 4 * 8 * kSegment <= INT32_MAX, "int32 lanes");

static inline Sum add_products(Sum sum, __m256i codes, const int8_t* q) {
  return _mm256_dpbusd_avx_epi32(sum, codes, load(q));
}

static inline Wide widen(Wide wide, Sum sum) { return _mm256_add_epi32(wide, sum); }

}  // namespace bitnet

#include "kernels/ternary_few/x86.inc"

namespace bitnet {

// 10 sums, two packed vectors, the mask and codes: 14 of the 16 registers.
static const FewStep kSteps[] = {{4, products<4, 1>},
                                 {4, products<4, 2>},
                                 {2, products<2, 3>},
                                 {2, products<2, 4>},
                                 {2, products<2, 5>}};

}  // namespace bitnet

#define ISA(name) name##_avxvnni
#define GEMM(name) name##_avxvnni
#define COLUMNS(name) name##_avx2
#include "kernels/ternary_few/columns.inc"
#include "kernels/ternary_few/few.inc"
