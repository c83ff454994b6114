// AMD's vector units look up and add beside those that multiply. So of each 7 weights, 4 are
// multiplied, as in x86_avx512vnni.cc, and 3 are looked up: a table has what 3 activations give to
// each of 27 triples of weights, one vector of int16, and one instruction looks up 32 rows.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ternary_gemm/lookup.h"

namespace bitnet {

// Multiplies 4 weights of each of 64 rows.
#define MULTIPLY(s)                                                              \
  do {                                                                           \
    UNROLL for (size_t h = 0; h < 2; h++) {                                      \
      const __m512i p = _mm512_load_si512(panel->quads[s] + 64 * h);             \
      const __m512i w = _mm512_and_si512(p, three);                              \
      UNROLL for (size_t m = 0; m < M; m++) {                                    \
        const __m512i q = _mm512_set1_epi32(load_4(tables->quads[m] + 4 * (s))); \
        a[m][2 * h] = _mm512_dpbusd_epi32(a[m][2 * h], w, q);                    \
        a[m][2 * h + 1] = _mm512_dpbusd_epi32(a[m][2 * h + 1], p, q);            \
      }                                                                          \
    }                                                                            \
  } while (0)

// kRows lines of weights that are unpacked next: `wide` lines next to each other in each row.
struct Ahead {
  const uint8_t* at;
  size_t wide, row_bytes;
};

// rows[i][0..64) += panel x tables, or = where it is the first, for M activation rows.
template <size_t M>
static NOINLINE void multiply(size_t blocks, const Panel* panel, const Tables* tables, bool first,
                              Ahead ahead, int32_t* const* rows) {
  __m512i a[M][4], b[M][2];
  UNROLL for (size_t m = 0; m < M; m++) {
    UNROLL for (size_t j = 0; j < 4; j++) {
      PREFETCH(rows[m] + 16 * j);
      a[m][j] = _mm512_setzero_si512();
    }
    b[m][0] = b[m][1] = _mm512_setzero_si512();
  }
  const __m512i three = _mm512_set1_epi8(3);
  const size_t triples = blocks * kTriples, quads = blocks * kQuads;
  size_t line = 0;
  for (size_t s = 0; s < triples; s++) {
    if (s < kRows) {
      PREFETCH_FAR(ahead.at + 64 * line);
      if (++line == ahead.wide) {
        ahead.at += ahead.row_bytes;
        line = 0;
      }
    }
    MULTIPLY(s);
    const __m512i e0 = _mm512_load_si512(panel->triples[s]), e1 = _mm512_srli_epi16(e0, 8);
    UNROLL for (size_t m = 0; m < M; m++) {
      __m512i t = _mm512_load_si512(tables->triples[s][m]);
      KEEP(t);
      b[m][0] = _mm512_add_epi16(b[m][0], _mm512_permutexvar_epi16(e0, t));
      b[m][1] = _mm512_add_epi16(b[m][1], _mm512_permutexvar_epi16(e1, t));
    }
  }
  ROLLED for (size_t s = triples; s < quads; s++) MULTIPLY(s);
  UNROLL for (size_t m = 0; m < M; m++) {
    const __m512i start = _mm512_set1_epi32(tables->start[m]);
    UNROLL for (size_t h = 0; h < 2; h++) {
      int32_t* to = rows[m] + 32 * h;
      __m512i low = _mm512_add_epi32(start, _mm512_srai_epi32(_mm512_slli_epi32(b[m][h], 16), 16));
      __m512i high = _mm512_add_epi32(start, _mm512_srai_epi32(b[m][h], 16));
      const __m512i odd = _mm512_sub_epi32(a[m][2 * h + 1], a[m][2 * h]);
      low = _mm512_add_epi32(low, a[m][2 * h]);
      high = _mm512_add_epi32(high, _mm512_srai_epi32(odd, 2));
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

// A panel's share of the lines of a block.
static Ahead lines_of(const Weights& s, size_t block, size_t panel) {
  if (!s.count) return {s.w + panel * kRows * s.row_bytes + block * kBlockBytes, 1, s.row_bytes};
  const size_t wide = s.outputs / kBlockK;
  return {s.w + (block * kBlockK + panel * kRows / wide) * s.row_bytes, wide, s.row_bytes};
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
      for (size_t i = 0; i < tall; i++) {
        tables.start[i] = 0;
        for (size_t b = 0; b < depth; b++) {
          prepare(q + (m0 + i) * q_stride + (b0 + b) * kBlockK, b, i, &tables);
        }
      }
      build(depth, tall, &tables);
      const size_t later = b0 + kDepth + turn % kDepth;
      for (size_t n = 0; n < weights.outputs; n += kRows) {
        int32_t* rows[kTokens];
        for (size_t i = 0; i < tall; i++) rows[i] = sums + (m0 + i) * stride + n;
        const Ahead ahead = later < blocks ? lines_of(weights, later, n / kRows)
                                           : lines_of(next, turn % kDepth, n / kRows);
        (tall == 3 ? multiply<3> : multiply<4>)(depth, panels + n / kRows, &tables, b0 == 0, ahead,
                                                rows);
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
