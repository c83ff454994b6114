#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/apart.h"
#include "kernels/ternary_few/ahead.h"
#include "kernels/ternary_few/ternary_few.h"

namespace bitnet {

// A lane adds 4 products of 4 fields a block, or of one that is up to 64 times the code.
static_assert(3ll * 128 * 4 * 4 * (kMaxK / kBlockK) <= INT32_MAX, "int32 lanes");
static_assert(3ll * 64 * 128 * 4 * (kMaxK / kBlockK) <= INT32_MAX, "int32 lanes");

// The sums of the lanes of each of 16 vectors, in order. With a loop that GCC does not unroll, the
// vectors would be in memory, and the sums of the loop before, too.
static inline __m512i sums_of(__m512i* v) {
  UNROLL for (int i = 0; i < 8; i++) {  // pairs of lanes, then of those
    v[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                            _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
  }
  UNROLL for (int i = 0; i < 4; i++) {
    v[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]),
                            _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]));
  }
  UNROLL for (int i = 0; i < 3; i++) {  // and of the quarters of a vector
    v[i + 4] = _mm512_add_epi32(_mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0x88),
                                _mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0xdd));
  }
  return v[6];
}

static constexpr size_t kSide = 4;  // weight rows side by side
static constexpr size_t kMost = 4;  // activation rows: 16 sums, so that all stay in registers
static constexpr size_t kWeightRows = 16;  // that stay in the first cache for all of m

// kSide weight rows by M activation rows, less `start`: lane kSide * m + r of the result. Each
// field of the weights is unpacked once.
template <int M>
static INLINE __m512i products(size_t blocks, const int8_t* q, const uint8_t* const* row,
                               const uint8_t* const* ahead, __m512i start) {
  const size_t width = blocks * kBlockK;
  const __m512i mask = _mm512_set1_epi8(3);
  __m512i acc[16];
  UNROLL for (int i = 0; i < 16; i++) acc[i] = _mm512_setzero_si512();
  for (size_t at = 0; at < blocks * kBlockBytes; at += kBlockBytes, q += kBlockK) {
    __m512i packed[kSide];
    UNROLL for (size_t r = 0; r < kSide; r++) {
      PREFETCH_FAR(ahead[r] + at);
      packed[r] = _mm512_loadu_si512(row[r] + at);
    }
    UNROLL for (int j = 0; j < 4; j++) {
      __m512i w[kSide];
      UNROLL for (size_t r = 0; r < kSide; r++) {
        w[r] = _mm512_and_si512(packed[r], mask);
        packed[r] = _mm512_srli_epi16(packed[r], 2);
      }
      UNROLL for (size_t m = 0; m < M; m++) {
        __m512i x = _mm512_loadu_si512(q + m * width + 64 * j);
        KEEP(x);
        UNROLL for (size_t r = 0; r < kSide; r++) {
          acc[kSide * m + r] = _mm512_dpbusd_epi32(acc[kSide * m + r], w[r], x);
        }
      }
    }
  }
  return _mm512_sub_epi32(sums_of(acc), start);
}

// The index names `known` rows, at least `count`.
template <int M>
static void few(size_t count, size_t known, size_t blocks, const int8_t* q, const int32_t* q_sums,
                const uint8_t* w, const int32_t* index, int32_t* sums, size_t stride) {
  const size_t row_bytes = blocks * kBlockBytes;
  alignas(64) int32_t out[16];
  UNROLL for (size_t i = 0; i < 16; i++) out[i] = i / kSide < M ? q_sums[i / kSide] : 0;
  const __m512i start = _mm512_load_si512(out);
  for (size_t n = 0; n < count; n += kSide, sums += kSide) {
    const uint8_t *row[kSide], *ahead[kSide];
    const size_t here = count - n < kSide ? count - n : kSide;
    if (!index && here == kSide) {
      UNROLL for (size_t r = 0; r < kSide; r++) {
        row[r] = w + (n + r) * row_bytes;
        ahead[r] = row[r] + kAhead;
      }
    } else {
      ROLLED for (size_t r = 0; r < kSide; r++) {  // past the last one, it is repeated
        const size_t at = n + (r < here ? r : here - 1);
        const size_t later = at + kRowsAhead < known ? at + kRowsAhead : known - 1;
        row[r] = w + (index ? static_cast<size_t>(index[at]) : at) * row_bytes;
        ahead[r] = index ? w + static_cast<size_t>(index[later]) * row_bytes : row[r] + kAhead;
      }
    }
    const __m512i all = products<M>(blocks, q, row, ahead, start);
    const __m128i v[4] = {_mm512_castsi512_si128(all), _mm512_extracti32x4_epi32(all, 1),
                          _mm512_extracti32x4_epi32(all, 2), _mm512_extracti32x4_epi32(all, 3)};
    UNROLL for (size_t m = 0; m < M; m++) {
      int32_t* to = sums + m * stride;
      if (here == kSide) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), v[m]);
      } else {
        _mm_mask_storeu_epi32(to, static_cast<__mmask8>((1u << here) - 1), v[m]);
      }
    }
  }
}

// The lanes of the sums of two weight rows by one activation row. A mask alone takes a field out of
// a byte, which leaves 4^j times the code: each field has sums of its own, and no shift in the
// loop.
static INLINE void two(size_t blocks, const int8_t* q, const uint8_t* const* row, __m512i* lanes) {
  __m512i acc[2][4], mask[4];
  UNROLL for (int j = 0; j < 4; j++) {
    mask[j] = _mm512_set1_epi8(static_cast<char>(3 << 2 * j));
    UNROLL for (size_t r = 0; r < 2; r++) acc[r][j] = _mm512_setzero_si512();
  }
  ROLLED for (size_t at = 0; at < blocks * kBlockBytes; at += kBlockBytes) {
    __m512i packed[2];
    UNROLL for (size_t r = 0; r < 2; r++) {
      PREFETCH_FAR(row[r] + at + kAhead);
      packed[r] = _mm512_loadu_si512(row[r] + at);
    }
    UNROLL for (int j = 0; j < 4; j++, q += 64) {
      __m512i x = _mm512_loadu_si512(q);
      KEEP(x);
      UNROLL for (size_t r = 0; r < 2; r++) {
        acc[r][j] = _mm512_dpbusd_epi32(acc[r][j], _mm512_and_si512(packed[r], mask[j]), x);
      }
    }
  }
  UNROLL for (size_t r = 0; r < 2; r++) {
    lanes[r] = acc[r][0];
    UNROLL for (int j = 1; j < 4; j++) {
      lanes[r] = _mm512_add_epi32(lanes[r], _mm512_srai_epi32(acc[r][j], 2 * j));
    }
  }
}

// The lanes of kSide rows side by side.
static INLINE void abreast(size_t blocks, const int8_t* q, const uint8_t* const* row,
                           const uint8_t* const* ahead, __m512i* lanes) {
  const __m512i mask = _mm512_set1_epi8(3);
  __m512i acc[kSide];
  UNROLL for (size_t r = 0; r < kSide; r++) acc[r] = _mm512_setzero_si512();
  ROLLED for (size_t i = 0; i < blocks; i++) {
    const size_t b = apart(i, blocks);
    __m512i packed[kSide];
    UNROLL for (size_t r = 0; r < kSide; r++) {
      PREFETCH_FAR(ahead[r] + i * kBlockBytes);
      packed[r] = _mm512_loadu_si512(row[r] + b * kBlockBytes);
    }
    UNROLL for (int j = 0; j < 4; j++) {
      __m512i x = _mm512_loadu_si512(q + b * kBlockK + 64 * j);
      KEEP(x);
      UNROLL for (size_t r = 0; r < kSide; r++) {
        acc[r] = _mm512_dpbusd_epi32(acc[r], _mm512_and_si512(packed[r], mask), x);
        packed[r] = _mm512_srli_epi16(packed[r], 2);
      }
    }
  }
  UNROLL for (size_t r = 0; r < kSide; r++) lanes[r] = acc[r];
}

// Weight rows by one activation row. All rows are read two by two: with four, memory would not be
// read in order, and one would load the activations for itself. Rows that an index names are read
// side by side, which is a third faster than one after the other: few lines of each follow each
// other.
static void one(size_t count, size_t known, size_t blocks, const int8_t* q, const int32_t* q_sums,
                const uint8_t* w, const int32_t* index, int32_t* sums, size_t) {
  constexpr size_t kTall = 16;
  const size_t row_bytes = blocks * kBlockBytes;
  // What no earlier row has fetched.
  for (size_t n = 0; index && n < (count < kRowsAhead ? count : kRowsAhead); n++) {
    const uint8_t* row = w + static_cast<size_t>(index[n]) * row_bytes;
    for (size_t at = 0; at < row_bytes; at += 64) PREFETCH_FAR(row + at);
  }
  for (size_t n = 0; n < count; n += kTall, sums += kTall) {
    const size_t here = count - n < kTall ? count - n : kTall;
    __m512i lanes[kTall];
    for (size_t r = here; r < kTall; r++) lanes[r] = _mm512_setzero_si512();
    if (!index) {
      ROLLED for (size_t r = 0; r < here; r += 2) {  // past the last one, it is repeated
        const uint8_t* first = w + (n + r) * row_bytes;
        const uint8_t* row[2] = {first, r + 1 < here ? first + row_bytes : first};
        two(blocks, q, row, lanes + r);
      }
    }
    ROLLED for (size_t r = 0; index && r < here; r += kSide) {
      const uint8_t *row[kSide], *ahead[kSide];
      ROLLED for (size_t i = 0; i < kSide; i++) {  // past the last one, it is repeated
        const size_t at = n + r + i < count ? n + r + i : count - 1;
        const size_t later = at + kRowsAhead < known ? at + kRowsAhead : known - 1;
        row[i] = w + static_cast<size_t>(index[at]) * row_bytes;
        ahead[i] = w + static_cast<size_t>(index[later]) * row_bytes;
      }
      abreast(blocks, q, row, ahead, lanes + r);
    }
    const __m512i all = _mm512_sub_epi32(sums_of(lanes), _mm512_set1_epi32(*q_sums));
    _mm512_mask_storeu_epi32(sums, static_cast<__mmask16>((1u << here) - 1), all);
  }
}

using Few = void (*)(size_t, size_t, size_t, const int8_t*, const int32_t*, const uint8_t*,
                     const int32_t*, int32_t*, size_t);
static const Few kFew[] = {one, few<2>, few<3>, few<4>};

void ternary_few_avx512vnni(size_t m, size_t count, size_t blocks, const int8_t* q,
                            const int32_t* q_sums, const uint8_t* w, const int32_t* index,
                            int32_t* sums, size_t stride) {
  const size_t turns = (m + kMost - 1) / kMost, tall = (m + turns - 1) / turns;
  const size_t step = turns == 1 ? count : kWeightRows, bytes = count * blocks * kBlockBytes;
  // What no earlier row has fetched: the first rows of a task.
  for (size_t at = 0; m > 1 && !index && at < (kAhead < bytes ? kAhead : bytes); at += 64) {
    PREFETCH_FAR(w + at);
  }
  for (size_t n = 0; n < count; n += step) {
    const size_t here = count - n < step ? count - n : step;
    const uint8_t* from = index ? w : w + n * blocks * kBlockBytes;
    for (size_t i = 0; i < m; i += tall) {
      kFew[(m - i < tall ? m - i : tall) - 1](here, count - n, blocks, q + i * blocks * kBlockK,
                                              q_sums + i, from, index ? index + n : nullptr,
                                              sums + i * stride + n, stride);
    }
  }
}

}  // namespace bitnet
