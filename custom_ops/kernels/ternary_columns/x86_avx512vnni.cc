
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/apart.h"
#include "kernels/select/select.h"
#include "kernels/ternary_columns/ternary_columns.h"
#include "kernels/ternary_few/ternary_few.h"

namespace bitnet {

// A mask alone takes a field out of a byte, which leaves 4^j times the code. Each field has its own
// sums. The last sums are those of whole bytes, without a mask. At the end the fields are separated
// and shifted. Sums may wrap on the way: 64 times the result must fit.
static_assert(-64ll * 2 * 128 * int64_t{kMaxK} >= INT32_MIN &&
                  64ll * 2 * 127 * int64_t{kMaxK} <= INT32_MAX,
              "int32 lanes");

// This many columns go over the sums together, while those of a later chunk are fetched. It is the
// best of 8, 16, 24 and 32 for 2560 outputs on Zen 4.
static constexpr size_t kChunk = 16, kNext = 2;

static inline int32_t load_4(const int8_t* p, size_t count) {
  int32_t word = 0;
  memcpy(&word, p, count < 4 ? count : 4);
  return word;
}

static int32_t sum_of(size_t count, const int8_t* q) {
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i sum = _mm512_setzero_si512();
  for (size_t i = 0; i < count; i += 64) {
    const size_t left = count - i;
    const __mmask64 some = left < 64 ? (__mmask64{1} << left) - 1 : ~__mmask64{0};
    sum = _mm512_dpbusd_epi32(sum, ones, _mm512_maskz_loadu_epi8(some, q + i));
  }
  return _mm512_reduce_add_epi32(sum);
}

// sums += the block at `at` of `fours` times 4 columns; that at `ahead_at` of others is prefetched.
// Dword d of quarter l of vector v of field j of the sums belongs to byte 16 l + 4 v + d of the
// block.
static INLINE void add_block(size_t fours, const uint8_t* const* column, size_t at,
                             const uint8_t* const* ahead, size_t ahead_at, const int32_t* q,
                             int32_t* sums) {
  __m512i acc[4][4];
  UNROLL for (int i = 0; i < 16; i++) acc[i / 4][i % 4] = _mm512_loadu_si512(sums + 16 * i);
  const __m512i mask[3] = {_mm512_set1_epi8(0x03), _mm512_set1_epi8(0x0c), _mm512_set1_epi8(0x30)};
  for (size_t g = 0; g < fours; g++, column += 4, ahead += 4) {
    UNROLL for (int c = 0; c < 4; c++) { PREFETCH_FAR(ahead[c] + ahead_at); }
    const __m512i a = _mm512_loadu_si512(column[0] + at), b = _mm512_loadu_si512(column[1] + at);
    const __m512i c = _mm512_loadu_si512(column[2] + at), d = _mm512_loadu_si512(column[3] + at);
    const __m512i ab0 = _mm512_unpacklo_epi8(a, b), ab1 = _mm512_unpackhi_epi8(a, b);
    const __m512i cd0 = _mm512_unpacklo_epi8(c, d), cd1 = _mm512_unpackhi_epi8(c, d);
    const __m512i packed[4] = {_mm512_unpacklo_epi16(ab0, cd0), _mm512_unpackhi_epi16(ab0, cd0),
                               _mm512_unpacklo_epi16(ab1, cd1), _mm512_unpackhi_epi16(ab1, cd1)};
    const __m512i x = _mm512_set1_epi32(q[g]);
    UNROLL for (int v = 0; v < 4; v++) {
      UNROLL for (int j = 0; j < 3; j++) {
        acc[j][v] = _mm512_dpbusd_epi32(acc[j][v], _mm512_and_si512(packed[v], mask[j]), x);
      }
      acc[3][v] = _mm512_dpbusd_epi32(acc[3][v], packed[v], x);
    }
  }
  UNROLL for (int i = 0; i < 16; i++) _mm512_storeu_si512(sums + 16 * i, acc[i / 4][i % 4]);
}

// The sums of a block in order, each field without the factor 4^j.
static inline void finish_block(int32_t* sums) {
  UNROLL for (int i = 0; i < 4; i++) {  // all fields, less the other three
    int32_t* from = sums + 16 * i;
    __m512i last = _mm512_loadu_si512(from + 192);
    UNROLL for (int j = 0; j < 3; j++) {
      last = _mm512_sub_epi32(last, _mm512_loadu_si512(from + 64 * j));
    }
    _mm512_storeu_si512(from + 192, last);
  }
  for (int j = 0; j < 4; j++, sums += 64) {
    const __m128i shift = _mm_cvtsi32_si128(2 * j);
    __m512i v[4], t[4];
    UNROLL for (int i = 0; i < 4; i++) {
      v[i] = _mm512_sra_epi32(_mm512_loadu_si512(sums + 16 * i), shift);
    }
    t[0] = _mm512_shuffle_i32x4(v[0], v[1], 0x44);
    t[1] = _mm512_shuffle_i32x4(v[0], v[1], 0xee);
    t[2] = _mm512_shuffle_i32x4(v[2], v[3], 0x44);
    t[3] = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
    _mm512_storeu_si512(sums, _mm512_shuffle_i32x4(t[0], t[2], 0x88));
    _mm512_storeu_si512(sums + 16, _mm512_shuffle_i32x4(t[0], t[2], 0xdd));
    _mm512_storeu_si512(sums + 32, _mm512_shuffle_i32x4(t[1], t[3], 0x88));
    _mm512_storeu_si512(sums + 48, _mm512_shuffle_i32x4(t[1], t[3], 0xdd));
  }
}

// What the sums begin with.
static void start(size_t blocks, int32_t q_sum, int32_t* sums) {
  for (size_t i = 0; i < 4 * blocks; i++) {
    const uint32_t factor = i % 4 < 3 ? 1u << 2 * (i % 4) : 1 + 4 + 16 + 64;
    const uint32_t first = 0 - static_cast<uint32_t>(q_sum) * factor;
    const __m512i all = _mm512_set1_epi32(static_cast<int32_t>(first));
    UNROLL for (int v = 0; v < 4; v++) _mm512_storeu_si512(sums + 64 * i + 16 * v, all);
  }
}

void ternary_columns_avx512vnni(size_t count, size_t blocks, const int32_t* index, const int8_t* q,
                                const uint8_t* w, int32_t* sums) {
  const size_t row = blocks * kBlockBytes;
  start(blocks, sum_of(count, q), sums);
  const uint8_t *column[kChunk], *ahead[kChunk];
  int32_t x[kChunk / 4];
  for (size_t i = 0; i < count; i += kChunk) {
    // Past the last column it is repeated, with q = 0. The next chunk is only prefetched.
    for (size_t c = 0; c < kChunk; c++) {
      const size_t at = i + c < count ? i + c : count - 1;
      const size_t later = at + kNext * kChunk < count ? at + kNext * kChunk : count - 1;
      column[c] = w + static_cast<size_t>(index[at]) * row;
      ahead[c] = w + static_cast<size_t>(index[later]) * row;
    }
    const size_t here = count - i < kChunk ? count - i : kChunk, fours = (here + 3) / 4;
    for (size_t g = 0; g < fours; g++) x[g] = load_4(q + i + 4 * g, here - 4 * g);
    for (size_t n = 0; n < blocks; n++) {
      const size_t b = apart(n, blocks);
      add_block(fours, column, b * kBlockBytes, ahead, n * kBlockBytes, x, sums + b * kBlockK);
    }
  }
  for (size_t b = 0; b < blocks; b++) finish_block(sums + b * kBlockK);
}

// Few activation rows take turns at a block of kSome columns, which stays in the first cache. Each
// multiplies those where it is not 0, so a zero costs nothing. Meanwhile the block kBlocksAhead
// further on is prefetched.
static constexpr size_t kSome = 256, kBlocksAhead = 1;

// The columns of one activation row that meet something else than 0.
struct Met {
  size_t fours;
  const uint8_t* column[kSome + 4];
  int32_t x[kSome / 4];
};

// The places of q, at most kSome, that are not 0: the last one is repeated, with q = 0.
static void meet(size_t count, const int8_t* q, const uint8_t* const* column, Met* met) {
  int32_t index[kSome + kSelectSlack];
  int8_t values[kSome + kSelectSlack];
  const size_t some = select_values_avx512vnni(count, q, index, values);
  for (size_t i = 0; i < some; i++) met->column[i] = column[index[i]];
  met->fours = (some + 3) / 4;
  for (size_t i = some; i < 4 * met->fours; i++) {
    met->column[i] = met->column[some - 1];
    values[i] = 0;
  }
  memcpy(met->x, values, 4 * met->fours);
}

void ternary_columns_few_avx512vnni(size_t m, size_t count, size_t blocks, const int8_t* q,
                                    size_t q_stride, const int32_t* q_sums, const uint8_t* w,
                                    const int32_t* index, int32_t* sums, size_t stride) {
  const size_t row_bytes = blocks * kBlockBytes;
  Met met[kFewActivations];
  for (size_t i = 0; i < m; i++) start(blocks, q_sums[i], sums + i * stride);
  for (size_t k = 0; k < count; k += kSome) {
    const size_t here = count - k < kSome ? count - k : kSome;
    const uint8_t* column[2 * kSome];  // and the next ones, which are prefetched
    for (size_t c = 0; c < 2 * kSome; c++) {
      const size_t at = k + c < count ? k + c : count - 1;
      column[c] = w + (index ? static_cast<size_t>(index[at]) : at) * row_bytes;
    }
    for (size_t c = 0; k == 0 && c < here; c++) {
      for (size_t b = 0; b < kBlocksAhead; b++) PREFETCH_FAR(column[c] + b * kBlockBytes);
    }
    for (size_t i = 0; i < m; i++) meet(here, q + i * q_stride + k, column, met + i);
    for (size_t b = 0; b < blocks; b++) {
      const bool inside = b + kBlocksAhead < blocks;  // of these columns
      const uint8_t* const* ahead = inside ? column : column + kSome;
      const size_t at = (inside ? b + kBlocksAhead : b + kBlocksAhead - blocks) * kBlockBytes;
      size_t next = 0;
      for (size_t i = 0; i < m; i++) {
        const size_t taken = 4 * met[i].fours, last = kSome - taken;
        add_block(met[i].fours, met[i].column, b * kBlockBytes, ahead + (next < last ? next : last),
                  at, met[i].x, sums + i * stride + b * kBlockK);
        next += taken;
      }
    }
  }
  for (size_t i = 0; i < m; i++) {
    for (size_t b = 0; b < blocks; b++) finish_block(sums + i * stride + b * kBlockK);
  }
}

}  // namespace bitnet
