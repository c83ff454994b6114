#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/int8_gemv/int8_gemv.h"

namespace bitnet {

// Bytes ahead: the best of 512 to 16384 on Cascade Lake, by up to a third.
static constexpr size_t kAhead = 8192;

// int8 weights widen to 16 bits; one step adds two products to each int32 lane.
static constexpr size_t kInt8Steps = 256;  // between two widenings to int64
static_assert(kInt8Steps * 2 * 32512 * 128 <= INT32_MAX, "int32 lanes");

// 32 of k of R weight rows by M activation rows.
template <int R, int M>
static inline void add_32(const int16_t* q, size_t q_stride, __m256i const* w, __m512i (*acc)[R]) {
  __m512i wide[R];
  UNROLL for (int r = 0; r < R; r++) wide[r] = _mm512_cvtepi8_epi16(w[r]);
  UNROLL for (int m = 0; m < M; m++) {
    __m512i x = _mm512_loadu_si512(q + m * q_stride);
    if (R > 1) KEEP(x);
    UNROLL for (int r = 0; r < R; r++) acc[m][r] = _mm512_dpwssd_epi32(acc[m][r], wide[r], x);
  }
}

// The lanes of R weight rows by M activation rows, over at most 32 * kInt8Steps of k: 16 vectors at
// most, so that all stay in registers.
template <int R, int M>
static void products(size_t k, const int16_t* q, size_t q_stride, const uint8_t* const* row,
                     __m512i* lanes) {
  __m512i acc[M][R];
  __m256i w[R];
  UNROLL for (int m = 0; m < M; m++) {
    UNROLL for (int r = 0; r < R; r++) acc[m][r] = _mm512_setzero_si512();
  }
  size_t i = 0;
  for (; i + 64 <= k; i += 64) {
    UNROLL for (int r = 0; r < R; r++) PREFETCH(row[r] + i + kAhead);
    UNROLL for (size_t j = 0; j < 64; j += 32) {
      UNROLL for (int r = 0; r < R; r++) {
        w[r] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row[r] + i + j));
      }
      add_32<R, M>(q + i + j, q_stride, w, acc);
    }
  }
  for (; i < k; i += 32) {
    const __mmask32 some = k - i < 32 ? (1u << (k - i)) - 1 : ~0u;
    UNROLL for (int r = 0; r < R; r++) w[r] = _mm256_maskz_loadu_epi8(some, row[r] + i);
    add_32<R, M>(q + i, q_stride, w, acc);
  }
  UNROLL for (int m = 0; m < M; m++) {
    UNROLL for (int r = 0; r < R; r++) _mm512_store_si512(lanes + m * R + r, acc[m][r]);
  }
}

// The lanes of 4 weight rows by M activation rows, row by row: memory is read in order, which is
// faster than rows side by side. Two sums keep their chains apart.
template <int M>
static void in_order(size_t k, const int16_t* q, size_t q_stride, const uint8_t* const* row,
                     __m512i* lanes) {
  ROLLED for (int r = 0; r < 4; r++) {
    __m512i acc[M][2];
    UNROLL for (int m = 0; m < M; m++) acc[m][0] = acc[m][1] = _mm512_setzero_si512();
    size_t i = 0;
    ROLLED for (; i + 64 <= k; i += 64) {
      PREFETCH(row[r] + i + kAhead);
      UNROLL for (int j = 0; j < 2; j++) {
        const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row[r] + i + 32 * j));
        const __m512i wide = _mm512_cvtepi8_epi16(w);
        UNROLL for (int m = 0; m < M; m++) {
          const __m512i x = _mm512_loadu_si512(q + m * q_stride + i + 32 * j);
          acc[m][j] = _mm512_dpwssd_epi32(acc[m][j], wide, x);
        }
      }
    }
    for (; i < k; i += 32) {
      const __mmask32 some = k - i < 32 ? (1u << (k - i)) - 1 : ~0u;
      const __m512i wide = _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(some, row[r] + i));
      UNROLL for (int m = 0; m < M; m++) {
        const __m512i x = _mm512_loadu_si512(q + m * q_stride + i);
        acc[m][0] = _mm512_dpwssd_epi32(acc[m][0], wide, x);
      }
    }
    UNROLL for (int m = 0; m < M; m++) {
      _mm512_store_si512(lanes + 4 * m + r, _mm512_add_epi32(acc[m][0], acc[m][1]));
    }
  }
}

// The lanes of one step, [m][R]: R is 4 for up to 4 activation rows, or 2.
using Products = void (*)(size_t, const int16_t*, size_t, const uint8_t* const*, __m512i*);
static const Products kProducts[] = {in_order<1>,    in_order<2>,    in_order<3>,
                                     in_order<4>,    products<2, 5>, products<2, 6>,
                                     products<2, 7>, products<2, 8>};

static inline int64_t sum_of(const __m512i* p) {
  const __m512i v = _mm512_load_si512(p);
  const __m512i low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(v));
  const __m512i high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(v, 1));
  return _mm512_reduce_add_epi64(_mm512_add_epi64(low, high));
}

// Up to 8 activation rows.
static void few(size_t m, size_t rows, size_t k, const int16_t* q, size_t q_stride,
                const uint8_t* w, int64_t* sums, size_t stride) {
  const size_t step = m <= 4 ? 4 : 2;
  for (size_t n = 0; n < rows; n += step) {
    const size_t here = rows - n < step ? rows - n : step;
    for (size_t k0 = 0; k0 < k; k0 += 32 * kInt8Steps) {
      const uint8_t* row[4];
      __m512i lanes[16];
      for (size_t r = 0; r < step; r++) {  // past the last one, it is repeated
        row[r] = w + (n + (r < here ? r : here - 1)) * k + k0;
      }
      const size_t depth = k - k0 < 32 * kInt8Steps ? k - k0 : 32 * kInt8Steps;
      kProducts[m - 1](depth, q + k0, q_stride, row, lanes);
      for (size_t i = 0; i < m; i++) {
        for (size_t r = 0; r < here; r++) {
          int64_t* sum = sums + i * stride + n + r;
          *sum = (k0 ? *sum : 0) + sum_of(lanes + i * step + r);
        }
      }
    }
  }
}

static constexpr size_t kWeightRows = 8;  // that stay in the first cache for all of m

void int8_gemv_avx512vnni(size_t m, size_t rows, size_t k, const int16_t* q, size_t q_stride,
                          const uint8_t* w, int64_t* sums, size_t stride) {
  const size_t step = m <= 8 ? rows : kWeightRows;
  for (size_t n = 0; n < rows; n += step) {
    const size_t here = rows - n < step ? rows - n : step;
    for (size_t i = 0; i < m; i += 8) {
      few(m - i < 8 ? m - i : 8, here, k, q + i * q_stride, q_stride, w + n * k,
          sums + i * stride + n, stride);
    }
  }
}

}  // namespace bitnet
