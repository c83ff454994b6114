#include "kernels/x86_avx512vnni.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ternary_few/ternary_few.h"

namespace bitnet {

// A lane adds 4 products of 4 fields a block.
static_assert(3ll * 128 * 4 * 4 * (kMaxK / kBlockK) <= INT32_MAX, "int32 lanes");

// The sums of the lanes of each of 16 vectors, in order.
static inline __m512i sums_of(__m512i* v) {
  UNROLL for (int i = 0; i < 8; i++) {  // pairs of lanes, then of those
    v[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                            _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
  }
  UNROLL for (int i = 0; i < 4; i++) {
    v[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]),
                            _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]));
  }
  for (int count = 2; count > 0; count /= 2) {  // and of the quarters of a vector
    UNROLL for (int i = 0; i < count; i++) {
      v[i] = _mm512_add_epi32(_mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0x88),
                              _mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0xdd));
    }
  }
  return v[0];
}

// What is prefetched ahead of a row: bytes where all rows are read, and how many of some rows.
static constexpr size_t kAhead = 20480, kRowsAhead = 32;
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

// Weight rows by one activation row, row by row: memory is read in order, which is a sixth faster
// than rows side by side. One chain of sums a row keeps demand behind what is prefetched.
static void in_order(size_t count, size_t known, size_t blocks, const int8_t* q,
                     const int32_t* q_sums, const uint8_t* w, const int32_t* index, int32_t* sums,
                     size_t) {
  constexpr size_t kTall = 16;
  const size_t row_bytes = blocks * kBlockBytes;
  const __m512i mask = _mm512_set1_epi8(3);
  for (size_t n = 0; n < count; n += kTall, sums += kTall) {
    const size_t here = count - n < kTall ? count - n : kTall;
    __m512i lanes[kTall];
    for (size_t r = here; r < kTall; r++) lanes[r] = _mm512_setzero_si512();
    ROLLED for (size_t r = 0; r < here; r++) {
      const size_t at = n + r, later = at + kRowsAhead < known ? at + kRowsAhead : known - 1;
      const uint8_t* row = w + (index ? static_cast<size_t>(index[at]) : at) * row_bytes;
      const uint8_t* ahead =
          index ? w + static_cast<size_t>(index[later]) * row_bytes : row + kAhead;
      __m512i acc = _mm512_setzero_si512();
      const int8_t* x = q;
      ROLLED for (size_t i = 0; i < row_bytes; i += kBlockBytes) {
        PREFETCH_FAR(ahead + i);
        __m512i packed = _mm512_loadu_si512(row + i);
        UNROLL for (int j = 0; j < 4; j++, x += 64) {
          acc = _mm512_dpbusd_epi32(acc, _mm512_and_si512(packed, mask), _mm512_loadu_si512(x));
          packed = _mm512_srli_epi16(packed, 2);
        }
      }
      lanes[r] = acc;
    }
    const __m512i all = _mm512_sub_epi32(sums_of(lanes), _mm512_set1_epi32(*q_sums));
    _mm512_mask_storeu_epi32(sums, static_cast<__mmask16>((1u << here) - 1), all);
  }
}

using Few = void (*)(size_t, size_t, size_t, const int8_t*, const int32_t*, const uint8_t*,
                     const int32_t*, int32_t*, size_t);
static const Few kFew[] = {in_order, few<2>, few<3>, few<4>};

void ternary_few_avx512vnni(size_t m, size_t count, size_t blocks, const int8_t* q,
                            const int32_t* q_sums, const uint8_t* w, const int32_t* index,
                            int32_t* sums, size_t stride) {
  const size_t turns = (m + kMost - 1) / kMost, tall = (m + turns - 1) / turns;
  const size_t step = turns == 1 ? count : kWeightRows;
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

static constexpr size_t kColumns = 64;     // that stay in the first cache for all of m
static constexpr size_t kBlocksAhead = 4;  // that are prefetched meanwhile
static constexpr size_t kHalfBytes = kColumns / 4 * kQuadBytes;
static_assert(3ll * 64 * 128 * kColumns <= INT32_MAX, "int32 lanes");

// sums[m][j] += 16 bytes of `groups` times 4 columns by M activation rows, for each field j of
// these bytes. A mask alone takes a field out of a byte, which leaves 4^j times the code. `start`:
// null, or what the sums begin with, less its sign. ahead: columns, prefetched from `at` on.
template <int M>
static void fields(size_t groups, const uint8_t* packed, const uint8_t* const* ahead, size_t at,
                   const int8_t* q, size_t q_stride, const int32_t* start, int32_t* sums,
                   size_t stride) {
  __m512i acc[M][4], mask[4];
  UNROLL for (int j = 0; j < 4; j++) {
    mask[j] = _mm512_set1_epi8(static_cast<char>(3 << 2 * j));
    UNROLL for (int m = 0; m < M; m++) acc[m][j] = _mm512_setzero_si512();
  }
  for (size_t g = 0; g < groups; g++, packed += kQuadBytes, q += 4) {
    const __m512i bytes = _mm512_loadu_si512(packed);
    PREFETCH_FAR(ahead[g] + at);
    __m512i w[4];
    UNROLL for (int j = 0; j < 4; j++) w[j] = _mm512_and_si512(bytes, mask[j]);
    UNROLL for (int m = 0; m < M; m++) {
      const __m512i x = _mm512_set1_epi32(load_4(q + m * q_stride));
      UNROLL for (int j = 0; j < 4; j++) acc[m][j] = _mm512_dpbusd_epi32(acc[m][j], w[j], x);
    }
  }
  UNROLL for (int m = 0; m < M; m++) {
    UNROLL for (int j = 0; j < 4; j++) {
      int32_t* to = sums + m * stride + 64 * j;
      const __m512i before = start ? _mm512_set1_epi32(-start[m]) : _mm512_loadu_si512(to);
      const __m512i sum = _mm512_sra_epi32(acc[m][j], _mm_cvtsi32_si128(2 * j));
      _mm512_storeu_si512(to, _mm512_add_epi32(before, sum));
    }
  }
}

using Fields = void (*)(size_t, const uint8_t*, const uint8_t* const*, size_t, const int8_t*,
                        size_t, const int32_t*, int32_t*, size_t);
static const Fields kFields[] = {fields<1>, fields<2>, fields<3>, fields<4>};

void ternary_columns_few_avx512vnni(size_t m, size_t count, size_t blocks, const int8_t* q,
                                    size_t q_stride, const int32_t* q_sums, const uint8_t* w,
                                    const int32_t* index, int32_t* sums, size_t stride) {
  alignas(64) uint8_t packed[2 * kHalfBytes];
  const size_t row_bytes = blocks * kBlockBytes;
  size_t k = 0;
  do {
    const size_t here = count - k < kColumns ? count - k : kColumns, groups = (here + 3) / 4;
    const uint8_t* column[2 * kColumns];  // and the next ones; the last is repeated, where q is 0
    for (size_t c = 0; c < 2 * kColumns && count; c++) {
      const size_t at = k + c < count ? k + c : count - 1;
      column[c] = w + (index ? static_cast<size_t>(index[at]) : at) * row_bytes;
    }
    for (size_t b = 0; b < blocks; b++) {
      const bool inside = b + kBlocksAhead < blocks;  // of these columns
      const uint8_t* const* ahead = inside ? column : column + kColumns;
      const size_t at = (inside ? b + kBlocksAhead : b + kBlocksAhead - blocks) * kBlockBytes;
      for (size_t g = 0; g < groups; g++) {
        const uint8_t* four[4];
        UNROLL for (size_t c = 0; c < 4; c++) four[c] = column[4 * g + c] + b * kBlockBytes;
        interleave_4(four, packed + g * kQuadBytes, kHalfBytes);
      }
      for (size_t v = 0; v < 4; v++) {  // 16 bytes of the block
        const uint8_t* from = packed + v / 2 * kHalfBytes + v % 2 * 64;
        for (size_t i = 0; i < m; i += 4) {
          kFields[(m - i < 4 ? m - i : 4) - 1](
              groups, from, ahead + kColumns / 4 * v, at, q + i * q_stride + k, q_stride,
              k ? nullptr : q_sums + i, sums + i * stride + b * kBlockK + 16 * v, stride);
        }
      }
    }
    k += kColumns;
  } while (k < count);
}

}  // namespace bitnet
