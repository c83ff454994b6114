#include <string.h>

#include "kernels/attend_scores_int8/attend_scores_int8.h"
#include "kernels/x86_avx512vnni_attend.h"

namespace bitnet {

// Bytes that a stream of keys is fetched ahead, into the second cache, which takes lines in faster.
static constexpr size_t kAhead = 4096;
// Elements of a head of most networks, and their vectors of 32.
static constexpr size_t kCommon = 128, kParts = kCommon / 32;

static inline __mmask32 first(size_t count) { return (1u << count) - 1; }

// Each quarter: sums of its 4 lanes, of each of four vectors.
static inline __m512i fold(const __m512i* v) {
  __m512i x[2];
  UNROLL for (int i = 0; i < 2; i++) {
    x[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                            _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
  }
  return _mm512_add_epi32(_mm512_unpacklo_epi64(x[0], x[1]), _mm512_unpackhi_epi64(x[0], x[1]));
}

// Quarter r: the sums of the quarters of v[r].
static inline __m512i fold_quarters(const __m512i v[4]) {
  __m512i x[2];
  UNROLL for (int i = 0; i < 2; i++) {
    x[i] = _mm512_add_epi32(_mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0x44),
                            _mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0xee));
  }
  return _mm512_add_epi32(_mm512_shuffle_i32x4(x[0], x[1], 0x88),
                          _mm512_shuffle_i32x4(x[0], x[1], 0xdd));
}

// Adds 32 elements of 4 positions, keys as 16 bits, for R heads.
template <int R>
static inline void add_keys(__m512i acc[R][4], const __m512i key[4], const int16_t* q,
                            size_t padded) {
  UNROLL for (int r = 0; r < R; r++) {
    const __m512i x = _mm512_loadu_si512(q + r * padded);
    UNROLL for (int t = 0; t < 4; t++) acc[r][t] = _mm512_dpwssd_epi32(acc[r][t], key[t], x);
  }
}

// R heads by 4 positions: lane 4r + t.
template <int R>
static inline __m512i products(size_t d, const int16_t* q, size_t padded, const int8_t* const k[4],
                               const int8_t* next) {
  __m512i acc[R][4], key[4];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int t = 0; t < 4; t++) acc[r][t] = _mm512_setzero_si512();
  }
  size_t i = 0;
  for (; i + 64 <= d; i += 64) {
    UNROLL for (int t = 0; t < 4; t++) {
      PREFETCH_FAR(k[t] + i + kAhead);
      PREFETCH_FAR(next + static_cast<size_t>(t) * d + i);
    }
    UNROLL for (size_t half = 0; half < 64; half += 32) {
      UNROLL for (int t = 0; t < 4; t++) key[t] = load(k[t] + i + half);
      add_keys<R>(acc, key, q + i + half, padded);
    }
  }
  for (; i < d; i += 32) {
    const __mmask32 mask = d - i < 32 ? first(d - i) : ~0u;
    UNROLL for (int t = 0; t < 4; t++) key[t] = load(k[t] + i, mask);
    add_keys<R>(acc, key, q + i, padded);
  }
  __m512i sums[4];
  UNROLL for (int r = 0; r < 4; r++) sums[r] = r < R ? fold(acc[r]) : _mm512_setzero_si512();
  return fold_quarters(sums);
}

// The same where d is kCommon, with the query in registers.
template <int R>
static inline __m512i products(const __m512i q[R][kParts], const int8_t* k, const int8_t* next) {
  __m512i sums[4];
  UNROLL for (size_t t = 0; t < 4; t++, k += kCommon, next += kCommon) {
    UNROLL for (size_t i = 0; i < kCommon; i += 64) {
      PREFETCH_FAR(k + i + kAhead);
      PREFETCH_FAR(next + i);
    }
    __m512i acc[4];
    UNROLL for (int r = 0; r < 4; r++) acc[r] = _mm512_setzero_si512();
    UNROLL for (size_t i = 0; i < kParts; i++) {
      const __m512i key = load(k + 32 * i);
      UNROLL for (int r = 0; r < R; r++) acc[r] = _mm512_dpwssd_epi32(acc[r], key, q[r][i]);
    }
    sums[t] = fold(acc);
  }
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(order, fold_quarters(sums));
}

// sums: lane 4r + t, of at most 4 positions
template <int R>
static inline void put(__m512i sums, size_t count, const float* k_scale, __m512 factor,
                       float* scores, size_t stride) {
  const __mmask8 mask = static_cast<__mmask8>(first(count));
  const __m512 scale = _mm512_broadcast_f32x4(_mm_maskz_loadu_ps(mask, k_scale));
  const __m512 y = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale), factor);
  float by_row[16];  // GCC 12 makes of masked stores some that fault where the mask is off
  _mm512_storeu_ps(by_row, y);
  UNROLL for (size_t r = 0; r < R; r++) {
    if (count == 4)
      memcpy(scores + r * stride, by_row + 4 * r, 16);
    else
      for (size_t i = 0; i < count; i++) scores[r * stride + i] = by_row[4 * r + i];
  }
}

template <int R>
static void score(size_t positions, size_t d, const int16_t* q, const int8_t* k,
                  const float* k_scale, const float* factor, const int8_t* next, float* scores,
                  size_t stride) {
  const size_t padded = (d + kPadInt8 - 1) / kPadInt8 * kPadInt8;
  float factors[16];
  for (int lane = 0; lane < 16; lane++) factors[lane] = lane / 4 < R ? factor[lane / 4] : 0.0f;
  const __m512 by_head = _mm512_loadu_ps(factors);
  size_t t = 0;
  if (R == kAttendRows && d == kCommon) {
    __m512i x[R][kParts];
    UNROLL for (size_t i = 0; i < R * kParts; i++) {
      x[i / kParts][i % kParts] = _mm512_loadu_si512(q + 32 * i);
    }
    for (; t + 4 <= positions; t += 4) {
      put<R>(products<R>(x, k + t * d, next + t * d), 4, k_scale + t, by_head, scores + t, stride);
    }
  }
  for (; t < positions; t += 4) {
    const size_t left = positions - t < 4 ? positions - t : 4;
    const int8_t* rows[4];  // past the last position it is repeated
    UNROLL for (size_t i = 0; i < 4; i++) rows[i] = k + (t + (i < left ? i : left - 1)) * d;
    put<R>(products<R>(d, q, padded, rows, next + t * d), left, k_scale + t, by_head, scores + t,
           stride);
  }
}

}  // namespace bitnet

#define ISA(name) name##_avx512vnni
#include "kernels/attend_scores_int8/by_rows.inc"
