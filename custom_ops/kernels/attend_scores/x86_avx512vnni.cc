#include "kernels/attend_scores/attend_scores.h"
#include "kernels/x86_avx512vnni_attend.h"

namespace bitnet {

// Keys, of a head of 128 those of kAttendAhead positions, that are prefetched ahead.
static constexpr size_t kAhead = 128 * kAttendAhead;

static inline __mmask8 first(size_t count) { return static_cast<__mmask8>((1u << count) - 1); }

// The same of eight vectors. Half of the lanes stay where they are: FMA needs a port of those that
// move lanes.
static inline __m512d fold(const __m512d* v) {
  __m512d x[4], y[2];
  UNROLL for (int i = 0; i < 4; i++) {
    x[i] = _mm512_add_pd(_mm512_mask_blend_pd(0xf0, v[i], v[i + 4]),
                         _mm512_shuffle_f64x2(v[i], v[i + 4], 0x4e));
  }
  UNROLL for (int i = 0; i < 2; i++) {
    const __m512d moved = _mm512_mask_blend_pd(0xcc, x[i + 2], x[i]);
    y[i] =
        _mm512_add_pd(_mm512_mask_blend_pd(0xcc, x[i], x[i + 2]), _mm512_permutex_pd(moved, 0x4e));
  }
  return _mm512_add_pd(_mm512_mask_blend_pd(0xaa, y[0], y[1]), _mm512_shuffle_pd(y[0], y[1], 0x55));
}

// R heads by T positions, T 4 or 1.
template <int R, int T, typename Cache>
static inline void score(size_t d, const double* q, const Cache* k, float root, float* scores,
                         size_t stride) {
  const size_t padded = (d + kPadHead - 1) / kPadHead * kPadHead;
  __m512d acc[4][4];
  UNROLL for (int i = 0; i < 16; i++) acc[i / 4][i % 4] = _mm512_setzero_pd();
  size_t i = 0;
  for (; i + 8 <= d; i += 8) {
    __m512d key[T];
    UNROLL for (int t = 0; t < T; t++) {
      PREFETCH_FAR(k + t * d + i + kAhead);
      key[t] = load(k + t * d + i);
    }
    UNROLL for (int r = 0; r < R; r++) {
      const __m512d x = _mm512_loadu_pd(q + r * padded + i);
      UNROLL for (int t = 0; t < T; t++) acc[r][t] = _mm512_fmadd_pd(x, key[t], acc[r][t]);
    }
  }
  if (i < d) {
    UNROLL for (int t = 0; t < T; t++) {
      const __m512d key = load(k + t * d + i, first(d - i));
      UNROLL for (int r = 0; r < R; r++) {
        acc[r][t] = _mm512_fmadd_pd(_mm512_loadu_pd(q + r * padded + i), key, acc[r][t]);
      }
    }
  }
  UNROLL for (int r = 0; r < R; r += 2) {
    const __m256 sums = _mm512_cvtpd_ps(fold(acc[r]));
    const __m256 scaled = _mm256_div_ps(sums, _mm256_set1_ps(root));
    const __m128 low = _mm256_castps256_ps128(scaled), high = _mm256_extractf128_ps(scaled, 1);
    if (T == 4) {
      _mm_storeu_ps(scores + r * stride, low);
      if (r + 1 < R) _mm_storeu_ps(scores + (r + 1) * stride, high);
    } else {
      _mm_store_ss(scores + r * stride, low);
      if (r + 1 < R) _mm_store_ss(scores + (r + 1) * stride, high);
    }
  }
}

template <int R, typename Cache>
static void score_rows(size_t positions, size_t d, const double* q, const Cache* k, float root,
                       float* scores, size_t stride) {
  size_t t = 0;
  for (; t + 4 <= positions; t += 4) score<R, 4>(d, q, k + t * d, root, scores + t, stride);
  for (; t < positions; t++) score<R, 1>(d, q, k + t * d, root, scores + t, stride);
}

}  // namespace bitnet

#define ISA(name) name##_avx512vnni
#include "kernels/attend_scores/by_rows.inc"
