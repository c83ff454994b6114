#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/ternary_open/ternary_open.h"

namespace bitnet {

// A mask alone takes a field out of a byte, which leaves 4^j times the code. A lane adds 4 products
// a block.
static_assert(3ll * 64 * 128 * 4 * (kMaxK / kBlockK) <= INT32_MAX, "int32 lanes");

static constexpr size_t kNear = 16;       // weight rows that stay in the first cache for all of m
static constexpr size_t kAheadRows = 32;  // that are fetched meanwhile, into the second one
static constexpr size_t kSide = 4;

// The open rows that one activation row has not met yet: less than kSide stay for the next ones.
struct Open {
  size_t count;
  int32_t n[kNear + kSide + 16];
};

static inline __mmask16 open_of(__mmask16 here, const float* gates) {
  const __m512 zero = _mm512_setzero_ps();
  // The second operand is kept where it is not a number.
  const __m512 gate = _mm512_max_ps(zero, _mm512_maskz_loadu_ps(here, gates));
  return _mm512_cmp_ps_mask(_mm512_mul_ps(gate, gate), zero, _CMP_NEQ_UQ);
}

// The sums of the lanes of kSide vectors.
static inline __m128i sums_of(const __m512i* v) {
  const __m512i a =
      _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
  const __m512i b =
      _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
  const __m512i c = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
  const __m256i d = _mm256_add_epi32(_mm512_castsi512_si256(c), _mm512_extracti64x4_epi64(c, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(d), _mm256_extracti128_si256(d, 1));
}

// What is fetched ahead, in the order of memory: so many lines in each round of a product.
struct Ahead {
  const uint8_t* at;
  size_t lines;
};

// kSide weight rows by one activation row. No field is shifted before the end.
static inline __m128i products(size_t blocks, const int8_t* q, const uint8_t* const* row,
                               Ahead* ahead) {
  __m512i acc[kSide][4], mask[4];
  UNROLL for (int j = 0; j < 4; j++) {
    mask[j] = _mm512_set1_epi8(static_cast<char>(3 << 2 * j));
    UNROLL for (size_t r = 0; r < kSide; r++) acc[r][j] = _mm512_setzero_si512();
  }
  for (size_t at = 0; at < blocks * kBlockBytes; at += kBlockBytes, q += kBlockK) {
    ROLLED for (size_t i = 0; i < ahead->lines; i++, ahead->at += 64) PREFETCH_FAR(ahead->at);
    __m512i packed[kSide];
    UNROLL for (size_t r = 0; r < kSide; r++) packed[r] = _mm512_loadu_si512(row[r] + at);
    UNROLL for (int j = 0; j < 4; j++) {
      __m512i x = _mm512_loadu_si512(q + 64 * j);
      KEEP(x);
      UNROLL for (size_t r = 0; r < kSide; r++) {
        acc[r][j] = _mm512_dpbusd_epi32(acc[r][j], _mm512_and_si512(packed[r], mask[j]), x);
      }
    }
  }
  UNROLL for (size_t r = 0; r < kSide; r++) {
    UNROLL for (int j = 1; j < 4; j++) {
      acc[r][0] = _mm512_add_epi32(acc[r][0], _mm512_srai_epi32(acc[r][j], 2 * j));
    }
  }
  const __m512i all[kSide] = {acc[0][0], acc[1][0], acc[2][0], acc[3][0]};
  return sums_of(all);
}

// Whole groups of kSide of the open rows, and the rest, too, where it is the last time.
static void meet(Open* open, bool last, size_t blocks, const int8_t* q, int32_t q_sum,
                 const uint8_t* w, Ahead* all_ahead, int32_t* sums) {
  Ahead ahead = *all_ahead;
  size_t done = 0;
  while (done + kSide <= open->count || (last && done < open->count)) {
    const uint8_t* row[kSide];
    int32_t n[kSide], out[kSide];
    UNROLL for (size_t r = 0; r < kSide; r++) {  // past the last one, it is repeated
      n[r] = open->n[done + r < open->count ? done + r : open->count - 1];
      row[r] = w + static_cast<size_t>(n[r]) * blocks * kBlockBytes;
    }
    const __m128i v = _mm_sub_epi32(products(blocks, q, row, &ahead), _mm_set1_epi32(q_sum));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), v);
    UNROLL for (size_t r = 0; r < kSide; r++) sums[n[r]] = out[r];
    done += kSide;
  }
  *all_ahead = ahead;
  if (last) return;
  open->count -= done;
  const __m128i rest = _mm_loadu_si128(reinterpret_cast<const __m128i*>(open->n + done));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(open->n), rest);
}

void ternary_open_avx512vnni(size_t m, size_t count, size_t blocks, const int8_t* q,
                             const int32_t* q_sums, const uint8_t* w, const float* gates,
                             size_t gates_stride, int32_t* sums, size_t stride) {
  const size_t row_bytes = blocks * kBlockBytes;
  const __m512i places = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  Open open[kFewActivations];
  const size_t end = count * row_bytes, first = kAheadRows * row_bytes;
  Ahead ahead = {w, 0};
  for (; ahead.at < w + (first < end ? first : end); ahead.at += 64) PREFETCH_FAR(ahead.at);
  for (size_t i = 0; i < m; i++) {
    open[i].count = 0;
    memset(sums + i * stride, 0, count * sizeof *sums);
  }
  for (size_t n = 0; n < count; n += kNear) {
    const bool last = count - n <= kNear;
    const __mmask16 here = static_cast<__mmask16>(last ? (1u << (count - n)) - 1 : ~0u);
    const __m512i rows = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int32_t>(n)), places);
    size_t rounds = 0;
    for (size_t i = 0; i < m; i++) {
      const __mmask16 some = open_of(here, gates + i * gates_stride + n);
      _mm512_storeu_si512(open[i].n + open[i].count, _mm512_maskz_compress_epi32(some, rows));
      open[i].count += COUNT_BITS(some);
      rounds += open[i].count / kSide * blocks;
    }
    const size_t until = (n + kNear + kAheadRows) * row_bytes;
    const uint8_t* to = w + (until < end ? until : end);
    ahead.lines = 0;
    if (to > ahead.at && rounds) {
      ahead.lines = (static_cast<size_t>(to - ahead.at) / 64 + rounds - 1) / rounds;
    }
    for (size_t i = 0; i < m; i++) {
      meet(open + i, last, blocks, q + i * blocks * kBlockK, q_sums[i], w, &ahead,
           sums + i * stride);
    }
  }
}

}  // namespace bitnet
