#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ternary_few/ternary_few.h"
#include "kernels/x86_avx512vnni_tile.h"

namespace bitnet {

// A lane adds 4 products of 4 fields a block.
static_assert(3ll * 128 * 4 * 4 * (kMaxK / kBlockK) <= INT32_MAX, "int32 lanes");

// What is prefetched ahead of a row: bytes where all rows are read, and how many of some rows.
static constexpr size_t kAhead = 8192, kRowsAhead = 12;

static inline __m128i fold(const __m512i* p) {
  const __m512i v = _mm512_load_si512(p);
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

// The products of R weight rows by M activation rows: 16 sums at most, so that all stay in
// registers. Each field of R weights is unpacked once.
template <int R, int M>
static void products(size_t blocks, const int8_t* q, const uint8_t* const* row,
                     const uint8_t* const* ahead, __m512i* lanes) {
  const size_t width = blocks * kBlockK;
  const __m512i mask = _mm512_set1_epi8(3);
  __m512i acc[16];
  UNROLL for (int i = 0; i < 16; i++) acc[i] = _mm512_setzero_si512();
  for (size_t at = 0; at < blocks * kBlockBytes; at += kBlockBytes, q += kBlockK) {
    __m512i packed[R];
    UNROLL for (int r = 0; r < R; r++) {
      PREFETCH(ahead[r] + at);
      packed[r] = _mm512_loadu_si512(row[r] + at);
    }
    UNROLL for (int j = 0; j < 4; j++) {
      __m512i w[R];
      UNROLL for (int r = 0; r < R; r++) {
        w[r] = _mm512_and_si512(packed[r], mask);
        packed[r] = _mm512_srli_epi16(packed[r], 2);
      }
      UNROLL for (int m = 0; m < M; m++) {
        const __m512i x = _mm512_loadu_si512(q + m * width + 64 * j);
        UNROLL for (int r = 0; r < R; r++) {
          acc[m * R + r] = _mm512_dpbusd_epi32(acc[m * R + r], w[r], x);
        }
      }
    }
  }
  UNROLL for (int i = 0; i < R * M; i++) _mm512_store_si512(lanes + i, acc[i]);
}

// The lanes of one step, [m][R]: R is 4 for up to 4 activation rows, or 2.
using Products = void (*)(size_t, const int8_t*, const uint8_t* const*, const uint8_t* const*,
                          __m512i*);
static const Products kProducts[] = {products<4, 1>, products<4, 2>, products<4, 3>,
                                     products<4, 4>, products<2, 5>, products<2, 6>,
                                     products<2, 7>, products<2, 8>};

// Up to 8 activation rows.
static void few(size_t m, size_t count, size_t known, size_t blocks, const int8_t* q,
                const int32_t* q_sums, const uint8_t* w, const int32_t* index, int32_t* sums,
                size_t stride) {
  const size_t row_bytes = blocks * kBlockBytes, step = m <= 4 ? 4 : 2;
  for (size_t n = 0; n < count; n += step) {
    const uint8_t *row[4], *ahead[4];
    __m512i lanes[16];
    int32_t out[16];
    for (size_t r = 0; r < step; r++) {  // past the last one, it is repeated
      const size_t at = n + r < count ? n + r : count - 1;
      row[r] = w + (index ? static_cast<size_t>(index[at]) : at) * row_bytes;
      const size_t later = at + kRowsAhead < known ? at + kRowsAhead : known - 1;
      ahead[r] = index ? w + static_cast<size_t>(index[later]) * row_bytes : row[r] + kAhead;
    }
    kProducts[m - 1](blocks, q, row, ahead, lanes);
    for (size_t i = 0; i < m * step; i += 4) {
      const __m128i low = _mm_hadd_epi32(fold(lanes + i), fold(lanes + i + 1));
      const __m128i high = _mm_hadd_epi32(fold(lanes + i + 2), fold(lanes + i + 3));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), _mm_hadd_epi32(low, high));
    }
    const size_t here = count - n < step ? count - n : step;
    for (size_t i = 0; i < m; i++) {
      for (size_t r = 0; r < here; r++) sums[i * stride + n + r] = out[i * step + r] - q_sums[i];
    }
  }
}

static constexpr size_t kWeightRows = 32;  // that stay in the first caches for all of m

void ternary_few_avx512vnni(size_t m, size_t count, size_t blocks, const int8_t* q,
                            const int32_t* q_sums, const uint8_t* w, const int32_t* index,
                            int32_t* sums, size_t stride) {
  const size_t width = blocks * kBlockK, row_bytes = blocks * kBlockBytes;
  const size_t step = m <= 8 ? count : kWeightRows;
  for (size_t n = 0; n < count; n += step) {
    const size_t here = count - n < step ? count - n : step;
    for (size_t i = 0; i < m; i += 8) {
      few(m - i < 8 ? m - i : 8, here, count - n, blocks, q + i * width, q_sums + i,
          index ? w : w + n * row_bytes, index ? index + n : nullptr, sums + i * stride + n,
          stride);
    }
  }
}

static constexpr size_t kColumns = 64;  // that stay in the first cache for all of m
static constexpr size_t kHalfBytes = kColumns / 4 * kQuadBytes;

// The fields of one block of up to kColumns columns by m activation rows.
static void block(size_t m, size_t groups, const uint8_t* packed, const int8_t* q, size_t q_stride,
                  const int32_t* start, int32_t* sums, size_t stride) {
  alignas(64) uint8_t panel[kHalfBytes];
  const __mmask16 full = 0xffff;
  const __m512i mask = _mm512_set1_epi8(3);
  for (int field = 0; field < 8; field++) {  // 4 of each half
    const uint8_t* from = packed + field % 2 * kHalfBytes;
    const __m128i shift = _mm_cvtsi32_si128(field / 2 * 2);
    for (size_t i = 0; i < groups * kQuadBytes; i += 64) {
      const __m512i codes = _mm512_srl_epi16(_mm512_loadu_si512(from + i), shift);
      _mm512_store_si512(panel + i, _mm512_and_si512(codes, mask));
    }
    int32_t* to = sums + field / 2 * 64 + field % 2 * 32;
    for (size_t m0 = 0; m0 < m; m0 += 8) {
      const size_t tall = m - m0 < 8 ? m - m0 : 8;
      kTiles[tall - 1](groups, panel, q + m0 * q_stride, q_stride, start ? start + m0 : nullptr,
                       full, full, to + m0 * stride, stride);
    }
  }
}

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
      for (size_t g = 0; g < groups; g++) {
        const uint8_t* four[4];
        UNROLL for (size_t c = 0; c < 4; c++) {
          four[c] = column[4 * g + c] + b * kBlockBytes;
          PREFETCH(column[kColumns + 4 * g + c] + b * kBlockBytes);
        }
        interleave_4(four, packed + g * kQuadBytes, kHalfBytes);
      }
      block(m, groups, packed, q + k, q_stride, k ? nullptr : q_sums, sums + b * kBlockK, stride);
    }
    k += kColumns;
  } while (k < count);
}

}  // namespace bitnet
