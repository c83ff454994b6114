#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/int8_gemv/int8_gemv.h"

namespace bitnet {

using Lanes = __m256i;

struct Step {
  size_t rows;
  void (*products)(size_t, const int16_t*, size_t, const uint8_t* const*, Lanes*);
};

static constexpr size_t kAhead = 20480;

// int8 weights widen to 16 bits; 16 k add two products to each int32 lane.
static constexpr size_t kDepth = 16 * 256;
static_assert(2ll * 32512 * 128 * (kDepth / 16) <= INT32_MAX, "int32 lanes");

template <int R, int M>
static void products(size_t depth, const int16_t* q, size_t q_stride, const uint8_t* const* row,
                     Lanes* lanes) {
  __m256i acc[M][R];
  UNROLL for (int m = 0; m < M; m++) {
    UNROLL for (int r = 0; r < R; r++) acc[m][r] = _mm256_setzero_si256();
  }
  for (size_t i = 0; i < depth; i += 16) {
    UNROLL for (int r = 0; r < R; r++) {
      if (i % 64 == 0) PREFETCH_FAR(row[r] + i + kAhead);
      const __m256i wide =
          _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row[r] + i)));
      UNROLL for (int m = 0; m < M; m++) {
        const __m256i* x = reinterpret_cast<const __m256i*>(q + m * q_stride + i);
        acc[m][r] = _mm256_add_epi32(acc[m][r], _mm256_madd_epi16(wide, _mm256_loadu_si256(x)));
      }
    }
  }
  UNROLL for (int i = 0; i < R * M; i++) _mm256_store_si256(lanes + i, acc[i / R][i % R]);
}

// One activation row: weight rows in turn, in the order of memory, which is faster than side by
// side. Four sums keep their chains apart.
static void row_by_row(size_t depth, const int16_t* q, size_t, const uint8_t* const* row,
                       Lanes* lanes) {
  for (int r = 0; r < 4; r++) {
    __m256i acc[4];
    UNROLL for (int j = 0; j < 4; j++) acc[j] = _mm256_setzero_si256();
    for (size_t i = 0; i < depth; i += 64) {
      PREFETCH_FAR(row[r] + i + kAhead);
      UNROLL for (size_t j = 0; j < 4; j++) {
        const size_t at = i + 16 * j;
        if (at >= depth) break;
        const __m256i wide =
            _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row[r] + at)));
        const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q + at));
        acc[j] = _mm256_add_epi32(acc[j], _mm256_madd_epi16(wide, x));
      }
    }
    const __m256i low = _mm256_add_epi32(acc[0], acc[1]), high = _mm256_add_epi32(acc[2], acc[3]);
    _mm256_store_si256(lanes + r, _mm256_add_epi32(low, high));
  }
}

static inline int64_t lane_sum(const Lanes& lanes) {
  const __m256i low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(lanes));
  const __m256i sum =
      _mm256_add_epi64(low, _mm256_cvtepi32_epi64(_mm256_extracti128_si256(lanes, 1)));
  const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  return _mm_cvtsi128_si64(two) + _mm_extract_epi64(two, 1);
}

// 10 sums, weights and products: 12 of the 16 registers; with 12 sums GCC would spill some.
static const Step kSteps[] = {{4, row_by_row},
                              {4, products<4, 2>},
                              {2, products<2, 3>},
                              {2, products<2, 4>},
                              {2, products<2, 5>}};

}  // namespace bitnet

#define ISA(name) name##_avx2
#include "kernels/int8_gemv/few.inc"
