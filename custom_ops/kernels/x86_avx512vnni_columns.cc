#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernel.h"

namespace bitnet {

// A field is taken out of a byte by a mask alone, which leaves 4^j times the code; each field has
// its own sums and they are shifted once at the end. They wrap on the way: all that counts is that
// 64 times the result fits.
static_assert(-64ll * 2 * 128 * int64_t{kMaxK} >= INT32_MIN &&
                  64ll * 2 * 127 * int64_t{kMaxK} <= INT32_MAX,
              "int32 lanes");

// So many bytes of columns are added block by block, out of the first cache, while the next ones
// come in; 32 columns of 2560 outputs.
static constexpr size_t kChunkBytes = 20 * 1024;
static constexpr size_t kChunk = 32;  // most columns of one chunk

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

// acc[j][v] += field j of the bytes of 4 columns: dword d of quarter l of vector v is byte 16 l +
// 4 v + d of each of them.
static inline void add_4(const uint8_t* const* column, size_t at, int32_t q, __m512i acc[4][4]) {
  const __m512i a = _mm512_loadu_si512(column[0] + at), b = _mm512_loadu_si512(column[1] + at);
  const __m512i c = _mm512_loadu_si512(column[2] + at), d = _mm512_loadu_si512(column[3] + at);
  const __m512i ab0 = _mm512_unpacklo_epi8(a, b), ab1 = _mm512_unpackhi_epi8(a, b);
  const __m512i cd0 = _mm512_unpacklo_epi8(c, d), cd1 = _mm512_unpackhi_epi8(c, d);
  const __m512i packed[4] = {_mm512_unpacklo_epi16(ab0, cd0), _mm512_unpackhi_epi16(ab0, cd0),
                             _mm512_unpacklo_epi16(ab1, cd1), _mm512_unpackhi_epi16(ab1, cd1)};
  const __m512i x = _mm512_set1_epi32(q);
  UNROLL for (int j = 0; j < 4; j++) {
    const __m512i mask = _mm512_set1_epi8(static_cast<char>(3 << 2 * j));
    UNROLL for (int v = 0; v < 4; v++) {
      acc[j][v] = _mm512_dpbusd_epi32(acc[j][v], _mm512_and_si512(packed[v], mask), x);
    }
  }
}

// Field j of a block: its sums in their order, without the factor 4^j.
static inline void finish_field(int j, int32_t* sums) {
  __m512i v[4], t[4];
  UNROLL for (int i = 0; i < 4; i++) v[i] = _mm512_loadu_si512(sums + 16 * i);
  t[0] = _mm512_shuffle_i32x4(v[0], v[1], 0x44);
  t[1] = _mm512_shuffle_i32x4(v[0], v[1], 0xee);
  t[2] = _mm512_shuffle_i32x4(v[2], v[3], 0x44);
  t[3] = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
  v[0] = _mm512_shuffle_i32x4(t[0], t[2], 0x88);
  v[1] = _mm512_shuffle_i32x4(t[0], t[2], 0xdd);
  v[2] = _mm512_shuffle_i32x4(t[1], t[3], 0x88);
  v[3] = _mm512_shuffle_i32x4(t[1], t[3], 0xdd);
  UNROLL for (int i = 0; i < 4; i++) {
    _mm512_storeu_si512(sums + 16 * i, _mm512_sra_epi32(v[i], _mm_cvtsi32_si128(2 * j)));
  }
}

void ternary_columns_avx512vnni(size_t count, size_t blocks, const int32_t* index, const int8_t* q,
                                const uint8_t* w, int32_t* sums) {
  const size_t row = blocks * kBlockBytes;
  const uint32_t q_sum = static_cast<uint32_t>(sum_of(count, q));
  for (size_t i = 0; i < 4 * blocks; i++) {
    const __m512i start = _mm512_set1_epi32(static_cast<int32_t>(0 - (q_sum << 2 * (i % 4))));
    UNROLL for (int v = 0; v < 4; v++) _mm512_storeu_si512(sums + 64 * i + 16 * v, start);
  }
  const size_t fitting = kChunkBytes / row / 4 * 4;
  const size_t chunk = fitting < 4 ? 4 : fitting > kChunk ? kChunk : fitting;
  const uint8_t* column[2 * kChunk];
  int32_t x[kChunk / 4];
  for (size_t i = 0; i < count; i += chunk) {
    // Past the last column come repetitions of it with q = 0; the next chunk is only prefetched.
    for (size_t c = 0; c < 2 * chunk; c++) {
      const size_t at = i + c < count ? i + c : count - 1;
      column[c] = w + static_cast<size_t>(index[at]) * row;
    }
    const size_t here = count - i < chunk ? count - i : chunk, fours = (here + 3) / 4;
    for (size_t g = 0; g < fours; g++) x[g] = load_4(q + i + 4 * g, here - 4 * g);
    for (size_t b = 0; b < blocks; b++) {
      int32_t* to = sums + b * kBlockK;
      __m512i acc[4][4];
      UNROLL for (int v = 0; v < 16; v++) acc[v / 4][v % 4] = _mm512_loadu_si512(to + 16 * v);
      for (size_t g = 0; g < fours; g++) {
        UNROLL for (int c = 0; c < 4; c++) {
          _mm_prefetch(reinterpret_cast<const char*>(column[chunk + 4 * g + c] + b * kBlockBytes),
                       _MM_HINT_T0);
        }
        add_4(column + 4 * g, b * kBlockBytes, x[g], acc);
      }
      UNROLL for (int v = 0; v < 16; v++) _mm512_storeu_si512(to + 16 * v, acc[v / 4][v % 4]);
    }
  }
  for (size_t i = 0; i < 4 * blocks; i++) finish_field(static_cast<int>(i % 4), sums + 64 * i);
}

}  // namespace bitnet
