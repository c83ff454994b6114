// AMD's vector units look up and add beside those that multiply. So of each 7 weights, 4 are
// multiplied, as in x86_avx512vnni.cc, and 3 are looked up: a table has what 3 activations give to
// each of 27 triples of weights, one vector of int16, and one instruction looks up 32 rows.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ternary_gemm/in_order.h"
#include "kernels/ternary_gemm/lookup.h"

namespace bitnet {

// Parts of a step: 4 weights of each of 64 rows, and a triple of each, by activation rows m < M.
#define QUAD(m) \
  if constexpr (m < M) q[m] = ordered_spread(tables->quads[m] + 4 * s)
#define DOT(m, j, w) \
  if constexpr (m < M) ordered_dot(&a[m][j], w, q[m])
#define TABLE(m) \
  if constexpr (m < M) t[m] = ordered_load(tables->triples[s][m])
#define LOOK_UP(m, h) \
  if constexpr (m < M) ordered_look_up(&b[m][h], e[h], t[m])

// A step, in the fastest of thousands of orders that were measured.
template <size_t M>
static INLINE void multiply_step(const Panel* panel, const Tables* tables, size_t s, __m512i three,
                                 __m512i (*a)[4], __m512i (*b)[2]) {
  __m512i q[4], t[4], e[2];
  e[1] = ordered_load(panel->triples[s] + 1);
  QUAD(2);
  TABLE(0);
  const __m512i p = ordered_load(panel->quads[s]);
  e[0] = ordered_load(panel->triples[s]);
  QUAD(0);
  DOT(0, 1, p);
  const __m512i w = ordered_and(p, three);
  DOT(0, 0, w);
  LOOK_UP(0, 0);
  QUAD(1);
  DOT(1, 0, w);
  DOT(1, 1, p);
  LOOK_UP(0, 1);
  TABLE(1);
  LOOK_UP(1, 0);
  DOT(2, 1, p);
  DOT(2, 0, w);
  LOOK_UP(1, 1);
  QUAD(3);
  DOT(3, 0, w);
  DOT(3, 1, p);
  const __m512i p1 = ordered_load(panel->quads[s] + 64);
  TABLE(2);
  LOOK_UP(2, 0);
  const __m512i w1 = ordered_and(p1, three);
  QUAD(0);
  DOT(0, 2, w1);
  LOOK_UP(2, 1);
  DOT(0, 3, p1);
  QUAD(2);
  DOT(2, 3, p1);
  TABLE(3);
  LOOK_UP(3, 0);
  QUAD(1);
  DOT(1, 2, w1);
  DOT(1, 3, p1);
  LOOK_UP(3, 1);
  QUAD(3);
  DOT(3, 3, p1);
  DOT(2, 2, w1);
  DOT(3, 2, w1);
}

// rows[i][0..64) += panel x tables, or = where it is the first, for M activation rows. Fetches
// lines of weights that are unpacked later, from `ahead` on, one of each row.
template <size_t M>
static NOINLINE void multiply(size_t blocks, const Panel* panel, const Tables* tables, bool first,
                              const uint8_t* ahead, size_t row_bytes, int32_t* const* rows) {
  __m512i a[M][4], b[M][2];
  UNROLL for (size_t m = 0; m < M; m++) {
    UNROLL for (size_t j = 0; j < 4; j++) {
      PREFETCH(rows[m] + 16 * j);
      a[m][j] = _mm512_set1_epi32(tables->start[m] * (j % 2 ? 5 : 1));
    }
    b[m][0] = b[m][1] = _mm512_set1_epi16(tables->triple_start[m]);
  }
  const __m512i three = _mm512_set1_epi8(3);
  const size_t triples = blocks * kTriples, quads = blocks * kQuads;
  for (size_t s = 0; s < triples; s++, ahead += row_bytes) {
    PREFETCH_FAR(ahead);
    multiply_step<M>(panel, tables, s, three, a, b);
  }
  ROLLED for (size_t s = triples; s < quads; s++) {
    UNROLL for (size_t h = 0; h < 2; h++) {
      const __m512i p = _mm512_load_si512(panel->quads[s] + 64 * h);
      const __m512i w = _mm512_and_si512(p, three);
      UNROLL for (size_t m = 0; m < M; m++) {
        const __m512i q = _mm512_set1_epi32(load_4(tables->quads[m] + 4 * s));
        a[m][2 * h] = _mm512_dpbusd_epi32(a[m][2 * h], w, q);
        a[m][2 * h + 1] = _mm512_dpbusd_epi32(a[m][2 * h + 1], p, q);
      }
    }
  }
  // Sums of tables are pairs of words: each is multiplied by 1 and added to the sums of quads.
  const __m512i even = _mm512_set1_epi32(1), odd = _mm512_set1_epi32(1 << 16);
  UNROLL for (size_t m = 0; m < M; m++) {
    UNROLL for (size_t h = 0; h < 2; h++) {
      int32_t* to = rows[m] + 32 * h;
      __m512i low = a[m][2 * h], high = a[m][2 * h + 1];
      high = _mm512_srai_epi32(_mm512_sub_epi32(high, low), 2);
      low = _mm512_dpwssd_epi32(low, b[m][h], even);
      high = _mm512_dpwssd_epi32(high, b[m][h], odd);
      if (!first) {
        low = _mm512_add_epi32(low, _mm512_loadu_si512(to));
        high = _mm512_add_epi32(high, _mm512_loadu_si512(to + 16));
      }
      _mm512_storeu_si512(to, low);
      _mm512_storeu_si512(to + 16, high);
    }
  }
}

// The weights of a product, of `outputs` / 64 panels. unpack(weights, block, at, panels) unpacks a
// block of each and returns whether a code is 3.
struct Weights {
  const uint8_t* w;
  size_t row_bytes, outputs, count;  // count: columns
  size_t next;                       // bytes from w to the weights of the next product
  bool (*unpack)(const Weights& weights, size_t block, size_t at, Panel* panels);
};

static_assert(kBlockK == 4 * kRows);
// Where a panel's share of the lines of a block begins: kRows, row_bytes from each to the next.
static const uint8_t* lines_of(const Weights& s, size_t block, size_t panel) {
  if (!s.count) return s.w + panel * kRows * s.row_bytes + block * kBlockBytes;
  return s.w + panel / 4 * kBlockBytes + (block * 4 + panel % 4) * kRows * s.row_bytes;
}

static bool unpack_rows(const Weights& s, size_t block, size_t at, Panel* panels) {
  bool invalid = false;
  for (size_t n = 0; n < s.outputs; n += kRows) {
    invalid |=
        unpack_64_rows(s.w + n * s.row_bytes + block * kBlockBytes, s.row_bytes, at, panels++);
  }
  return invalid;
}

static bool unpack_columns(const Weights& s, size_t block, size_t at, Panel* panels) {
  bool invalid = false;
  for (size_t n = 0; n < s.outputs; n += kBlockK, panels += 4) {
    invalid |= unpack_256_columns(s.w + n / kBlockK * kBlockBytes, s.row_bytes, block * kBlockK,
                                  s.count, at, panels);
  }
  return invalid;
}

// Returns false where a code is 3: tables have no entry for it.
static NOINLINE bool look_up(const Weights& weights, size_t m, size_t blocks, const int8_t* q,
                             size_t q_stride, int32_t* sums, size_t stride) {
  alignas(64) Panel panels[kRowsZen4 / kRows];
  alignas(64) Tables tables;
  const size_t turns = (m + kTokens - 1) / kTokens;
  Weights next = weights;
  next.w += weights.next;
  for (size_t b0 = 0; b0 < blocks; b0 += kDepth) {
    const size_t depth = blocks - b0 < kDepth ? blocks - b0 : kDepth;
    for (size_t b = 0; b < depth; b++) {
      if (weights.unpack(weights, b0 + b, b, panels)) return false;
    }
    for (size_t turn = 0, m0 = 0; turn < turns; turn++) {
      const size_t tall = (m - m0) / (turns - turn);  // 3 or 4, as m is at least kLeast
      const int8_t* here = q + m0 * q_stride + b0 * kBlockK;
      for (size_t i = 0; i < tall; i++) prepare(here + i * q_stride, depth, i, &tables);
      build(here, q_stride, depth, tall, &tables);
      const size_t later = b0 + kDepth + turn % kDepth;
      for (size_t n = 0; n < weights.outputs; n += kRows) {
        int32_t* rows[kTokens];
        for (size_t i = 0; i < tall; i++) rows[i] = sums + (m0 + i) * stride + n;
        const uint8_t* ahead = later < blocks ? lines_of(weights, later, n / kRows)
                                              : lines_of(next, turn % kDepth, n / kRows);
        (tall == 3 ? multiply<3> : multiply<4>)(depth, panels + n / kRows, &tables, b0 == 0, ahead,
                                                weights.row_bytes, rows);
      }
      m0 += tall;
    }
  }
  return true;
}

void ternary_gemm_zen4(size_t m, size_t n, size_t blocks, const int8_t* q, const int32_t* q_sums,
                       const uint8_t* w, int32_t* sums, size_t stride) {
  const size_t row_bytes = blocks * kBlockBytes;
  for (size_t outputs; n; n -= outputs, w += outputs * row_bytes, sums += outputs) {
    outputs = n < kRowsZen4 ? n / kRows * kRows : kRowsZen4;
    const Weights weights = {w, row_bytes, outputs, 0, outputs * row_bytes, unpack_rows};
    if (m >= kLeast && outputs && look_up(weights, m, blocks, q, blocks * kBlockK, sums, stride)) {
      continue;
    }
    return ternary_gemm_avx512vnni(m, n, blocks, q, q_sums, w, sums, stride);
  }
}

void ternary_columns_gemm_zen4(size_t m, size_t count, size_t blocks, const int8_t* q,
                               size_t q_stride, const int32_t* q_sums, const uint8_t* w,
                               size_t row_bytes, int32_t* sums, size_t stride) {
  constexpr size_t kMost = kRowsZen4 / kBlockK;
  for (size_t wide; blocks; blocks -= wide, w += wide * kBlockBytes, sums += wide * kBlockK) {
    wide = blocks < kMost ? blocks : kMost;
    const Weights weights = {w,     row_bytes,          wide * kBlockK,
                             count, wide * kBlockBytes, unpack_columns};
    if (m >= kLeast && count &&
        look_up(weights, m, (count + kBlockK - 1) / kBlockK, q, q_stride, sums, stride)) {
      continue;
    }
    return ternary_columns_gemm_avx512vnni(m, count, blocks, q, q_stride, q_sums, w, row_bytes,
                                           sums, stride);
  }
}

}  // namespace bitnet
