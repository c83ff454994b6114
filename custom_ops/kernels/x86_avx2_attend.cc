#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernel.h"

namespace bitnet {

static constexpr size_t kAhead = 4096;  // bytes that a stream of keys is prefetched ahead

static inline void prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}

static inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

// The first `count` of 4 or 8 lanes; all of them where count is larger.
static inline __m256i lanes(size_t count) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count < 8 ? static_cast<int>(count) : 8), index);
}

static inline __m256d load(const float* p, size_t count) {
  if (count >= 4) return _mm256_cvtps_pd(_mm_loadu_ps(p));
  return _mm256_cvtps_pd(_mm_maskload_ps(p, _mm256_castsi256_si128(lanes(count))));
}

static inline __m256d load(const uint16_t* p, size_t count) {
  uint64_t four = 0;
  memcpy(&four, p, count < 4 ? 2 * count : 8);
  return _mm256_cvtps_pd(_mm_cvtph_ps(_mm_cvtsi64_si128(static_cast<int64_t>(four))));
}

// The sums of the lanes of four vectors: lane l takes in l+2, l+1.
static inline __m256d fold(__m256d a, __m256d b, __m256d c, __m256d d) {
  const __m256d ab =
      _mm256_add_pd(_mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31));
  const __m256d cd =
      _mm256_add_pd(_mm256_permute2f128_pd(c, d, 0x20), _mm256_permute2f128_pd(c, d, 0x31));
  return _mm256_permute4x64_pd(_mm256_hadd_pd(ab, cd), 0xd8);
}

template <int R, typename Cache>
static void score_rows(size_t positions, size_t d, const double* q, const Cache* k, float root,
                       float* scores, size_t stride) {
  const size_t padded = (d + kPadHead - 1) / kPadHead * kPadHead;
  for (size_t t = 0; t < positions; t++, k += d) {
    __m256d low[4], high[4];
    UNROLL for (int r = 0; r < 4; r++) low[r] = high[r] = _mm256_setzero_pd();
    for (size_t i = 0; i < d; i += 8) {
      if (i % 16 == 0) prefetch(k + i + kAhead / sizeof(Cache));
      const __m256d first = load(k + i, d - i);
      const __m256d second = d - i > 4 ? load(k + i + 4, d - i - 4) : _mm256_setzero_pd();
      UNROLL for (int r = 0; r < R; r++) {
        const double* x = q + r * padded + i;
        low[r] = _mm256_fmadd_pd(_mm256_loadu_pd(x), first, low[r]);
        high[r] = _mm256_fmadd_pd(_mm256_loadu_pd(x + 4), second, high[r]);
      }
    }
    UNROLL for (int r = 0; r < R; r++) low[r] = _mm256_add_pd(low[r], high[r]);
    float sums[4];
    const __m128 four = _mm256_cvtpd_ps(fold(low[0], low[1], low[2], low[3]));
    _mm_storeu_ps(sums, _mm_div_ps(four, _mm_set1_ps(root)));
    UNROLL for (int r = 0; r < R; r++) scores[r * stride + t] = sums[r];
  }
}

template <typename Cache>
static void score_all(size_t rows, size_t positions, size_t d, const double* q, const Cache* k,
                      float root, float* scores, size_t stride) {
  static_assert(kAttendRows == 4, "4 rows, or fewer as 2 and 1");
  if (rows == 4) return score_rows<4>(positions, d, q, k, root, scores, stride);
  if (rows >= 2) score_rows<2>(positions, d, q, k, root, scores, stride);
  if (rows % 2 == 0) return;
  const size_t last = rows - 1, padded = (d + kPadHead - 1) / kPadHead * kPadHead;
  score_rows<1>(positions, d, q + last * padded, k, root, scores + last * stride, stride);
}

void attend_scores_avx2(size_t rows, size_t positions, size_t d, const double* q, const float* k,
                        float root, float* scores, size_t stride) {
  score_all(rows, positions, d, q, k, root, scores, stride);
}

void attend_scores_f16_avx2(size_t rows, size_t positions, size_t d, const double* q,
                            const uint16_t* k, float root, float* scores, size_t stride) {
  score_all(rows, positions, d, q, k, root, scores, stride);
}

static inline __m256 exponential(__m256 x) {
  x = _mm256_max_ps(_mm256_set1_ps(kExpLeast), x);  // the second operand where it is NaN
  const __m256 magic = _mm256_set1_ps(kRoundMagic);
  const __m256 shifted = _mm256_add_ps(_mm256_mul_ps(x, _mm256_set1_ps(kLog2E)), magic);
  const __m256 n = _mm256_sub_ps(shifted, magic);
  const __m256 r = _mm256_sub_ps(_mm256_sub_ps(x, _mm256_mul_ps(n, _mm256_set1_ps(kLn2High))),
                                 _mm256_mul_ps(n, _mm256_set1_ps(kLn2Low)));
  __m256 sum = _mm256_set1_ps(kExpTerms[0]);
  UNROLL for (int i = 1; i < 8; i++) {
    sum = _mm256_add_ps(_mm256_mul_ps(sum, r), _mm256_set1_ps(kExpTerms[i]));
  }
  const __m256i bias = _mm256_set1_epi32(static_cast<int>(127 - kRoundMagicBits));
  const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(shifted), bias), 23);
  return _mm256_mul_ps(sum, _mm256_castsi256_ps(power));
}

double attend_softmax_avx2(size_t positions, const float* scores, double* weights) {
  __m256 most = _mm256_set1_ps(scores[0]);
  for (size_t t = 0; t < positions; t += 8) {
    const __m256i mask = lanes(positions - t);
    const __m256 x = _mm256_maskload_ps(scores + t, mask);
    most = _mm256_max_ps(most, _mm256_blendv_ps(most, x, _mm256_castsi256_ps(mask)));
  }
  most = _mm256_max_ps(most, _mm256_permute2f128_ps(most, most, 1));
  most = _mm256_max_ps(most, _mm256_permute_ps(most, 0x4e));
  const __m256 peak = _mm256_max_ps(most, _mm256_permute_ps(most, 0xb1));
  __m256d sums[4];  // lanes 0 to 3, 4 to 7, 8 to 11, 12 to 15
  UNROLL for (int i = 0; i < 4; i++) sums[i] = _mm256_setzero_pd();
  for (size_t t = 0; t < positions; t += 16) {
    UNROLL for (size_t half = 0; half < 2; half++) {
      const size_t at = t + 8 * half;
      if (at >= positions) break;
      const __m256i mask = lanes(positions - at);
      const __m256 x = _mm256_sub_ps(_mm256_maskload_ps(scores + at, mask), peak);
      const __m256 e = _mm256_and_ps(exponential(x), _mm256_castsi256_ps(mask));
      const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(e));
      const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(e, 1));
      const __m128i low_mask = _mm256_castsi256_si128(mask);
      _mm256_maskstore_pd(weights + at, _mm256_cvtepi32_epi64(low_mask), low);
      const __m128i high_mask = _mm256_extracti128_si256(mask, 1);
      _mm256_maskstore_pd(weights + at + 4, _mm256_cvtepi32_epi64(high_mask), high);
      sums[2 * half] = _mm256_add_pd(sums[2 * half], low);
      sums[2 * half + 1] = _mm256_add_pd(sums[2 * half + 1], high);
    }
  }
  const __m256d four =
      _mm256_add_pd(_mm256_add_pd(sums[0], sums[2]), _mm256_add_pd(sums[1], sums[3]));
  return _mm256_cvtsd_f64(fold(four, four, four, four));
}

// Where the values of later positions are, line after line in the order of memory.
template <typename Cache>
struct Ahead {
  const Cache* row;
  size_t at, width, d;
  void next() {
    prefetch(row + at);
    at += 64 / sizeof(Cache);
    if (at < width) return;
    at = 0;
    row += d;
  }
};

// sums += weights x R heads by D vectors of 4 elements, the last of which has `last`.
template <int R, int D, typename Cache>
static inline void blend(size_t positions, size_t d, const double* weights, size_t stride,
                         const Cache* v, size_t last, double* sums, size_t s_stride) {
  __m256d acc[R][D];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < D; j++) acc[r][j] = _mm256_loadu_pd(sums + r * s_stride + 4 * j);
  }
  for (size_t t = 0; t < positions; t++, v += d) {
    __m256d value[D];
    UNROLL for (int j = 0; j < D; j++) value[j] = load(v + 4 * j, j == D - 1 ? last : 4);
    UNROLL for (int r = 0; r < R; r++) {
      const __m256d weight = _mm256_set1_pd(weights[r * stride + t]);
      UNROLL for (int j = 0; j < D; j++) acc[r][j] = _mm256_fmadd_pd(weight, value[j], acc[r][j]);
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int j = 0; j < D; j++) _mm256_storeu_pd(sums + r * s_stride + 4 * j, acc[r][j]);
  }
}

template <int R, typename Cache>
static void blend_rows(size_t positions, size_t width, size_t d, const double* weights,
                       size_t stride, const Cache* v, double* sums, size_t s_stride) {
  Ahead<Cache> ahead = {v + kAttendAhead * d, 0, width, d};
  for (size_t i = 0; i < width; i += 8) {
    for (size_t line = 0; line < positions; line += 2) ahead.next();  // as many as there are
    if (width - i > 4)
      blend<R, 2>(positions, d, weights, stride, v + i, smaller(width - i - 4, 4), sums + i,
                  s_stride);
    else
      blend<R, 1>(positions, d, weights, stride, v + i, width - i, sums + i, s_stride);
  }
}

template <typename Cache>
static void blend_all(size_t rows, size_t positions, size_t width, size_t d, const double* weights,
                      size_t stride, const Cache* v, double* sums, size_t s_stride) {
  if (rows == 4) return blend_rows<4>(positions, width, d, weights, stride, v, sums, s_stride);
  if (rows >= 2) blend_rows<2>(positions, width, d, weights, stride, v, sums, s_stride);
  if (rows % 2 == 0) return;
  const size_t last = rows - 1;
  blend_rows<1>(positions, width, d, weights + last * stride, stride, v, sums + last * s_stride,
                s_stride);
}

void attend_values_avx2(size_t rows, size_t positions, size_t width, size_t d,
                        const double* weights, size_t stride, const float* v, double* sums,
                        size_t s_stride) {
  blend_all(rows, positions, width, d, weights, stride, v, sums, s_stride);
}

void attend_values_f16_avx2(size_t rows, size_t positions, size_t width, size_t d,
                            const double* weights, size_t stride, const uint16_t* v, double* sums,
                            size_t s_stride) {
  blend_all(rows, positions, width, d, weights, stride, v, sums, s_stride);
}

}  // namespace bitnet
