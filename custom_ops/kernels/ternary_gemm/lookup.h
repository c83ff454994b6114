// Weights and activations as x86_zen4.cc takes them: 3 of each 7 weights as indices of tables.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ternary_few/ternary_few.h"
#include "kernels/ternary_gemm/ternary_gemm.h"
#include "kernels/x86_avx512vnni.h"

namespace bitnet {

// Of a block, bytes b < 36 of fields 0 to 2 are triples; all the rest is quads.
static constexpr size_t kTriples = 36, kQuads = (kBlockK - 3 * kTriples) / 4;
static constexpr size_t kRest = (kBlockBytes - kTriples) / 4;  // quads of each of fields 0 to 2
static constexpr size_t kDepth = 2;                            // blocks at a time
static constexpr size_t kRows = 64, kTokens = 4;               // of a tile
static constexpr size_t kLeast = kFewLeast + 1;  // activation rows that are worth the tables
static_assert(kTriples % 4 == 0 && kDepth * kTriples * 3 * 128 <= 32767, "sums fit int16");

// What a tile multiplies with: 64 weight rows by kDepth blocks.
struct Panel {
  uint8_t triples[kDepth * kTriples][64];  // of rows r, 32 + r, 16 + r, 48 + r
  uint8_t quads[kDepth * kQuads][128];     // row r % 16's 4 codes: r / 16 = 0, 2, and 4 times 1, 3
};

// Codes are 0, 1 and 2, so sums start with minus the sum of the activations. Sums of tables wrap
// around on their way; where they end, they fit.
struct Tables {
  int16_t triples[kDepth * kTriples][kTokens][32];
  int8_t quads[kTokens][kDepth * kQuads * 4 + 32];
  int32_t start[kTokens];                          // of quads
  int16_t triple_start[kTokens];                   // of triples
  int16_t pairs[kTokens][kDepth * kTriples + 32];  // the first two activations of each triple
};

// Byte i of the result is f(i).
template <typename F>
struct Bytes {
  alignas(64) int8_t at[64];
  constexpr explicit Bytes(F f) : at() {
    for (int i = 0; i < 64; i++) at[i] = static_cast<int8_t>(f(i));
  }
};

// Table entry e is for codes e % 3, e / 3 % 3 and e / 9: the first two, and the last.
static constexpr Bytes kFirst([](int i) { return i % 2 ? i / 2 / 3 % 3 : i / 2 % 3; });
static constexpr Bytes kLast([](int i) { return i % 2 ? 0 : i / 2 / 9; });
static constexpr Bytes kEntry([](int i) {  // negative where a code is 3
  return i % 4 == 3 || i / 4 % 4 == 3 || i / 16 == 3 ? -1 : i % 4 + i / 4 % 4 * 3 + i / 16 * 9;
});
static constexpr Bytes kOrder([](int i) {
  return i / 4 + (i % 4 == 1 ? 32 : i % 4 == 2 ? 16 : i % 4 * 16);
});
static constexpr Bytes kPairs([](int i) { return i / 2 + (i % 2 ? 64 : 0); });

// What tables are made of: some blocks of one activation row.
static NOINLINE void prepare(const int8_t* q, size_t blocks, size_t token, Tables* tables) {
  const __m512i ones = _mm512_set1_epi8(1);
  const __m512i of_triple = _mm512_maskz_mov_epi8((1ull << kTriples) - 1, ones);
  const __m512i of_quad = _mm512_xor_si512(ones, of_triple);
  __m512i triple_sum = _mm512_setzero_si512(), quad_sum = triple_sum;
  const __m512i pairs = _mm512_load_si512(kPairs.at);
  const __m512i more = _mm512_add_epi8(pairs, _mm512_set1_epi8(32));
  int8_t* quads = tables->quads[token];
  int16_t* xy = tables->pairs[token];
  for (size_t b = 0; b < blocks; b++, q += kBlockK, quads += kQuads * 4, xy += kTriples) {
    __m512i x[3];
    UNROLL for (size_t f = 0; f < 3; f++) x[f] = _mm512_loadu_si512(q + 64 * f);
    _mm512_storeu_si512(xy, _mm512_permutex2var_epi8(x[0], pairs, x[1]));
    _mm512_storeu_si512(xy + 32, _mm512_permutex2var_epi8(x[0], more, x[1]));
    // Field 3, and what the triples leave of the others. The last bytes are copied twice.
    const __m512i all = _mm512_loadu_si512(q + 192);
    _mm512_storeu_si512(quads, all);
    quad_sum = _mm512_dpbusd_epi32(quad_sum, ones, all);
    UNROLL for (size_t f = 0; f < 3; f++) {
      triple_sum = _mm512_dpbusd_epi32(triple_sum, of_triple, x[f]);
      quad_sum = _mm512_dpbusd_epi32(quad_sum, of_quad, x[f]);
      memcpy(quads + 64 + f * kRest * 4, q + 64 * f + kTriples, 32);
    }
  }
  tables->start[token] = -_mm512_reduce_add_epi32(quad_sum);
  tables->triple_start[token] = static_cast<int16_t>(-_mm512_reduce_add_epi32(triple_sum));
}

static NOINLINE void build(const int8_t* q, size_t q_stride, size_t blocks, size_t tokens,
                           Tables* tables) {
  const __m512i first = _mm512_load_si512(kFirst.at), last = _mm512_load_si512(kLast.at);
  for (size_t b = 0; b < blocks; b++, q += kBlockK) {
    for (size_t t = 0; t < kTriples; t++) {
      const size_t at = b * kTriples + t;
      ROLLED for (size_t i = 0; i < tokens; i++) {
        const __m512i xy = _mm512_set1_epi16(tables->pairs[i][at]);
        const __m512i z = _mm512_set1_epi8(q[i * q_stride + 128 + t]);
        _mm512_store_si512(tables->triples[at][i], _mm512_add_epi16(_mm512_maddubs_epi16(first, xy),
                                                                    _mm512_maddubs_epi16(last, z)));
      }
    }
  }
}

// Shifts of 16-bit words by n, 0 < n < 16, as products: they do not wait for the units of shuffles.
static INLINE __m512i left(__m512i v, int n) {
  return _mm512_mullo_epi16(v, _mm512_set1_epi16(static_cast<int16_t>(1 << n)));
}
static INLINE __m512i right(__m512i v, int n) {
  return _mm512_mulhi_epu16(v, _mm512_set1_epi16(static_cast<int16_t>(1 << (16 - n))));
}

// Codes of field f of two groups of 16 rows: those of b count 4 times.
static inline __m512i field(const __m512i pairs[2], int f) {
  const __m512i both = _mm512_set1_epi8(15);
  return _mm512_and_si512(f < 2 ? pairs[f] : right(pairs[f - 2], 4), both);
}
// Fields 0 and 2, and fields 1 and 3.
static inline void pair(__m512i a, __m512i b, __m512i pairs[2]) {
  const __m512i low = _mm512_set1_epi8(0x33);
  pairs[0] = _mm512_ternarylogic_epi64(low, a, left(b, 2), 0xca);
  pairs[1] = _mm512_ternarylogic_epi64(low, right(a, 2), b, 0xca);
}

// One block of 64 rows. Returns whether a code is 3.
static NOINLINE bool unpack_64_rows(const uint8_t* w, size_t row_bytes, size_t block,
                                    Panel* panel) {
  alignas(64) __m512i v[4][16];
  __m512i three = _mm512_setzero_si512();
  for (size_t g = 0; g < 4; g++) {
    __m512i r[16];
    UNROLL for (size_t i = 0; i < 16; i++) {
      r[i] = _mm512_loadu_si512(w + (16 * g + i) * row_bytes);
    }
    transpose_16x16(r);
    UNROLL for (size_t i = 0; i < 16; i++) v[g][i] = r[i];
  }
  uint8_t (*quads)[128] = panel->quads + block * kQuads;
  for (size_t i = 0; i < 16; i++) {
    UNROLL for (int h = 0; h < 2; h++) {
      __m512i pairs[2];
      pair(v[2 * h][i], v[2 * h + 1][i], pairs);
      _mm512_store_si512(quads[i] + 64 * h, field(pairs, 3));
      if (i < kTriples / 4) continue;
      UNROLL for (int f = 0; f < 3; f++) {
        const size_t rest = static_cast<size_t>(f) * kRest + i - kTriples / 4;
        _mm512_store_si512(quads[16 + rest] + 64 * h, field(pairs, f));
      }
    }
  }
  const __m512i entry = _mm512_load_si512(kEntry.at);
  uint8_t (*triples)[64] = panel->triples + block * kTriples;
  const __mmask64 odd = 0xaaaaaaaaaaaaaaaa;
  for (size_t i = 0; i < kTriples / 4; i++, triples += 4) {
    __m512i e[4];
    UNROLL for (int g = 0; g < 4; g++) e[g] = _mm512_permutexvar_epi8(v[g][i], entry);
    three = _mm512_ternarylogic_epi64(three, e[0], e[1], 0xfe);
    three = _mm512_ternarylogic_epi64(three, e[2], e[3], 0xfe);
    UNROLL for (int j = 0; j < 2; j++) {  // bytes j and j + 2
      const __m512i a = j ? _mm512_mask_blend_epi8(odd, right(e[0], 8), e[2])
                          : _mm512_mask_blend_epi8(odd, e[0], left(e[2], 8));
      const __m512i b = j ? _mm512_mask_blend_epi8(odd, right(e[1], 8), e[3])
                          : _mm512_mask_blend_epi8(odd, e[1], left(e[3], 8));
      const __mmask32 high = 0xaaaaaaaa;
      _mm512_store_si512(triples[j], _mm512_mask_blend_epi16(high, a, _mm512_slli_epi32(b, 16)));
      _mm512_store_si512(triples[j + 2],
                         _mm512_mask_blend_epi16(high, _mm512_srli_epi32(a, 16), b));
    }
  }
  return _mm512_movepi8_mask(three);
}

// One block of 256 outputs by one of 256 columns, from column k on: 4 panels.
static NOINLINE bool unpack_256_columns(const uint8_t* w, size_t row_bytes, size_t k, size_t count,
                                        size_t block, Panel* panels) {
  const auto column = [&](size_t c) {  // past the last one, where q is 0, it is repeated
    return w + (k + c < count ? k + c : count - 1) * row_bytes;
  };
  __m512i three = _mm512_setzero_si512();
  for (size_t s = 0; s < kQuads; s++) {
    const size_t of_rest = (s - 16) / kRest * 64 + kTriples + (s - 16) % kRest * 4;
    const size_t c = s < 16 ? 192 + 4 * s : of_rest;
    const uint8_t* of[4] = {column(c), column(c + 1), column(c + 2), column(c + 3)};
    alignas(64) uint8_t v[4][64];
    interleave_4(of, v[0], 128);
    UNROLL for (int h = 0; h < 2; h++) {
      const __m512i x = _mm512_load_si512(v[2 * h]), y = _mm512_load_si512(v[2 * h + 1]);
      __m512i pairs[2];
      pair(x, y, pairs);
      UNROLL for (int f = 0; f < 4; f++) {
        _mm512_store_si512(panels[f].quads[block * kQuads + s] + 64 * h, field(pairs, f));
      }
    }
  }
  const __m512i entry = _mm512_load_si512(kEntry.at), order = _mm512_load_si512(kOrder.at);
  const __m512i one = _mm512_set1_epi8(3), both = _mm512_set1_epi8(15);
  for (size_t t = 0; t < kTriples; t++) {
    __m512i x[3];
    UNROLL for (size_t f = 0; f < 3; f++) {
      const __m512i v = _mm512_loadu_si512(column(64 * f + t));
      x[f] = _mm512_permutexvar_epi8(order, v);
    }
    // Bits 1:0, 3:2 and 5:4 of these are field f.
    const __m512i a[4] = {x[0], right(x[0], 2), right(x[0], 4), right(x[0], 6)};
    const __m512i b[4] = {left(x[1], 2), x[1], _mm512_srli_epi16(x[1], 2), right(x[1], 4)};
    const __m512i c[4] = {_mm512_slli_epi16(x[2], 4), _mm512_slli_epi16(x[2], 2), x[2],
                          _mm512_srli_epi16(x[2], 2)};
    UNROLL for (int f = 0; f < 4; f++) {
      const __m512i ab = _mm512_ternarylogic_epi64(one, a[f], b[f], 0xca);
      const __m512i e =
          _mm512_permutexvar_epi8(_mm512_ternarylogic_epi64(both, ab, c[f], 0xca), entry);
      three = _mm512_or_si512(three, e);
      _mm512_store_si512(panels[f].triples[block * kTriples + t], e);
    }
  }
  return _mm512_movepi8_mask(three);
}

}  // namespace bitnet
