#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/int8_gemv/int8_gemv.h"

namespace bitnet {

// Bytes that are fetched ahead into the second cache, by one activation row and by several.
static constexpr size_t kNear = 2048, kFar = 40960;

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

// Adds to the lanes of R weight rows by M activation rows, [M][R], or starts them, over k: 16
// vectors at most, so that all stay in registers. Bytes from `ahead` on are prefetched.
template <int R, int M>
static void products(size_t k, const int16_t* q, size_t q_stride, const uint8_t* const* row,
                     size_t ahead, bool first, __m512i* lanes) {
  __m512i acc[M][R];
  __m256i w[R];
  UNROLL for (int m = 0; m < M; m++) {
    UNROLL for (int r = 0; r < R; r++) {
      acc[m][r] = first ? _mm512_setzero_si512() : _mm512_load_si512(lanes + m * R + r);
    }
  }
  size_t i = 0;
  for (; i + 64 <= k; i += 64) {
    UNROLL for (int r = 0; r < R; r++) PREFETCH_FAR(row[r] + i + ahead);
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

// The lanes of 4 weight rows by one activation row, row by row: memory is read in order, which is
// faster than rows side by side. Two sums keep their chains apart.
static void in_order(size_t k, const int16_t* q, const uint8_t* const* row, __m512i* lanes) {
  ROLLED for (int r = 0; r < 4; r++) {
    __m512i acc[1][1] = {{_mm512_setzero_si512()}}, other[1][1] = {{_mm512_setzero_si512()}};
    size_t i = 0;
    ROLLED for (; i + 64 <= k; i += 64) {
      PREFETCH_FAR(row[r] + i + kNear);
      const __m256i* w = reinterpret_cast<const __m256i*>(row[r] + i);
      const __m256i low = _mm256_loadu_si256(w), high = _mm256_loadu_si256(w + 1);
      add_32<1, 1>(q + i, 0, &low, acc);
      add_32<1, 1>(q + i + 32, 0, &high, other);
    }
    for (; i < k; i += 32) {
      const __mmask32 some = k - i < 32 ? (1u << (k - i)) - 1 : ~0u;
      const __m256i w = _mm256_maskz_loadu_epi8(some, row[r] + i);
      add_32<1, 1>(q + i, 0, &w, acc);
    }
    _mm512_store_si512(lanes + r, _mm512_add_epi32(acc[0][0], other[0][0]));
  }
}

static inline int64_t sum_of(const __m512i* p) {
  const __m512i v = _mm512_load_si512(p);
  const __m512i low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(v));
  const __m512i high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(v, 1));
  return _mm512_reduce_add_epi64(_mm512_add_epi64(low, high));
}

static constexpr size_t kDeepest = 32 * kInt8Steps;

static void one(size_t rows, size_t k, const int16_t* q, const uint8_t* w, int64_t* sums) {
  for (size_t n = 0; n < rows; n += 4) {
    const size_t here = rows - n < 4 ? rows - n : 4;
    for (size_t k0 = 0; k0 < k; k0 += kDeepest) {
      const uint8_t* row[4];
      __m512i lanes[4];
      for (size_t r = 0; r < 4; r++) {  // past the last one, it is repeated
        row[r] = w + (n + (r < here ? r : here - 1)) * k + k0;
      }
      in_order(k - k0 < kDeepest ? k - k0 : kDeepest, q + k0, row, lanes);
      for (size_t r = 0; r < here; r++) sums[n + r] = (k0 ? sums[n + r] : 0) + sum_of(lanes + r);
    }
  }
}

// For 2 activation rows and more: how many weight rows go side by side, and their products.
struct Step {
  size_t rows;
  void (*products)(size_t k, const int16_t* q, size_t q_stride, const uint8_t* const* row,
                   size_t ahead, bool first, __m512i* lanes);
};
static const Step kSteps[] = {{1, products<1, 2>}, {2, products<2, 3>}, {2, products<2, 4>},
                              {2, products<2, 5>}, {2, products<2, 6>}, {2, products<2, 7>},
                              {2, products<2, 8>}};
static constexpr size_t kWhole = 4;  // activation rows that the first cache holds as a whole

// Up to kWhole activation rows: memory is read in order.
static void whole(size_t m, size_t rows, size_t k, const int16_t* q, size_t q_stride,
                  const uint8_t* w, int64_t* sums, size_t stride) {
  const Step step = kSteps[m - 2];
  for (size_t n = 0; n < rows; n += step.rows) {
    for (size_t k0 = 0; k0 < k; k0 += kDeepest) {
      __m512i lanes[2 * kWhole];
      const uint8_t* first = w + n * k + k0;  // past the last one, it is repeated
      const uint8_t* row[2] = {first, n + 1 < rows ? first + k : first};
      step.products(k - k0 < kDeepest ? k - k0 : kDeepest, q + k0, q_stride, row, kFar, true,
                    lanes);
      for (size_t i = 0; i < m; i++) {
        for (size_t r = 0; r < step.rows && n + r < rows; r++) {
          int64_t* sum = sums + i * stride + n + r;
          *sum = (k0 ? *sum : 0) + sum_of(lanes + i * step.rows + r);
        }
      }
    }
  }
}

static constexpr size_t kWeightRows = 8;  // at a time; the next ones are prefetched meanwhile
static constexpr size_t kDepth = 512;     // of 8 activation rows: they stay in the first cache

// More, up to 8 activation rows, by up to kWeightRows.
static void several(size_t m, size_t rows, size_t k, const int16_t* q, size_t q_stride,
                    const uint8_t* w, int64_t* sums, size_t stride) {
  __m512i lanes[kWeightRows / 2][16];
  for (size_t k0 = 0, depth; k0 < k; k0 += depth) {
    depth = k - k0 < kDeepest ? k - k0 : kDeepest;
    for (size_t k1 = 0; k1 < depth; k1 += kDepth) {
      const size_t here = depth - k1 < kDepth ? depth - k1 : kDepth;
      for (size_t n = 0; n < rows; n += 2) {  // past the last one, it is repeated
        const uint8_t* first = w + n * k + k0 + k1;
        const uint8_t* row[2] = {first, n + 1 < rows ? first + k : first};
        kSteps[m - 2].products(here, q + k0 + k1, q_stride, row, kWeightRows * k, k1 == 0,
                               lanes[n / 2]);
      }
    }
    for (size_t i = 0; i < m; i++) {
      for (size_t n = 0; n < rows; n++) {
        int64_t* sum = sums + i * stride + n;
        *sum = (k0 ? *sum : 0) + sum_of(lanes[n / 2] + 2 * i + n % 2);
      }
    }
  }
}

void int8_gemv_avx512vnni(size_t m, size_t rows, size_t k, const int16_t* q, size_t q_stride,
                          const uint8_t* w, int64_t* sums, size_t stride) {
  if (m == 1) return one(rows, k, q, w, sums);
  const size_t turns = (m + 7) / 8, step = m > kWhole ? kWeightRows : rows;
  for (size_t n = 0; n < rows; n += step) {
    const size_t here = rows - n < step ? rows - n : step;
    for (size_t turn = 0, i = 0, tall; turn < turns; turn++, i += tall) {
      tall = (m - i) / (turns - turn);
      (tall > kWhole ? several : whole)(tall, here, k, q + i * q_stride, q_stride, w + n * k,
                                        sums + i * stride + n, stride);
    }
  }
}

}  // namespace bitnet
