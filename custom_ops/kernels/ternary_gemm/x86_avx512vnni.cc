#include "kernels/x86_avx512vnni.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ternary_gemm/ternary_gemm.h"

namespace bitnet {

// sums[m][0..32) += panel x q for M activation rows. The first panel starts from -q_sums.
template <int M>
static void tile(size_t groups, const uint8_t* panel, const int8_t* q, size_t q_stride,
                 const int32_t* start, __mmask16 low, __mmask16 high, int32_t* sums,
                 size_t stride) {
  __m512i acc[M][2];
  UNROLL for (int m = 0; m < M; m++) {
    if (start) {
      acc[m][0] = acc[m][1] = _mm512_set1_epi32(-start[m]);
    } else {
      acc[m][0] = _mm512_maskz_loadu_epi32(low, sums + m * stride);
      acc[m][1] = _mm512_maskz_loadu_epi32(high, sums + m * stride + 16);
    }
  }
  for (size_t g = 0; g < groups; g++, panel += kQuadBytes, q += 4) {
    const __m512i w0 = _mm512_loadu_si512(panel), w1 = _mm512_loadu_si512(panel + 64);
    UNROLL for (int m = 0; m < M; m++) {
      const __m512i x = _mm512_set1_epi32(load_4(q + m * q_stride));
      acc[m][0] = _mm512_dpbusd_epi32(acc[m][0], w0, x);
      acc[m][1] = _mm512_dpbusd_epi32(acc[m][1], w1, x);
    }
  }
  UNROLL for (int m = 0; m < M; m++) {
    _mm512_mask_storeu_epi32(sums + m * stride, low, acc[m][0]);
    _mm512_mask_storeu_epi32(sums + m * stride + 16, high, acc[m][1]);
  }
}

// The same for any number of activation rows.
static NOINLINE void tiles(size_t m, size_t groups, const uint8_t* panel, const int8_t* q,
                           size_t q_stride, const int32_t* start, __mmask16 low, __mmask16 high,
                           int32_t* sums, size_t stride) {
  for (size_t tall; m; m -= tall) {
    tall = m >= 8 ? 8 : m >= 4 ? 4 : m >= 2 ? 2 : 1;
    const auto run = tall == 8 ? tile<8> : tall == 4 ? tile<4> : tall == 2 ? tile<2> : tile<1>;
    run(groups, panel, q, q_stride, start, low, high, sums, stride);
    q += tall * q_stride;
    sums += tall * stride;
    if (start) start += tall;
  }
}

// Panels of 32 weight rows by 10 blocks, which the second cache holds, are unpacked once for all
// activation rows. The sums of a tile are in registers meanwhile.
static constexpr size_t kPanelBlocks = 10;

void ternary_gemm_avx512vnni(size_t m, size_t n, size_t blocks, const int8_t* q,
                             const int32_t* q_sums, const uint8_t* w, int32_t* sums,
                             size_t stride) {
  alignas(64) uint8_t panel[kPanelBlocks * 64 * kQuadBytes];
  const size_t row_bytes = blocks * kBlockBytes, q_stride = blocks * kBlockK;
  for (size_t n0 = 0; n0 < n; n0 += kTileN) {
    const size_t rows = n - n0 < kTileN ? n - n0 : kTileN;
    const size_t rows0 = rows < 16 ? rows : 16;
    const __mmask16 low = static_cast<__mmask16>((1u << rows0) - 1);
    const __mmask16 high = static_cast<__mmask16>((1u << (rows - rows0)) - 1);
    for (size_t b0 = 0; b0 < blocks; b0 += kPanelBlocks) {
      const size_t count = blocks - b0 < kPanelBlocks ? blocks - b0 : kPanelBlocks;
      for (size_t r = 0; r < rows; r++) {
        const uint8_t* row = w + (n0 + r) * row_bytes + b0 * kBlockBytes;
        for (size_t b = 0; b < count; b++) PREFETCH(row + b * kBlockBytes);
      }
      for (size_t b = 0; b < count; b++) {
        const uint8_t* from = w + n0 * row_bytes + (b0 + b) * kBlockBytes;
        uint8_t* to = panel + b * 64 * kQuadBytes;
        unpack_block(from, row_bytes, rows0, to);
        if (rows > 16) unpack_block(from + 16 * row_bytes, row_bytes, rows - 16, to + 64);
      }
      tiles(m, count * 64, panel, q + b0 * kBlockK, q_stride, b0 ? nullptr : q_sums, low, high,
            sums + n0, stride);
    }
  }
}

static constexpr size_t kChunk = 1024;  // columns: their panel stays in the first cache
static constexpr size_t kHalfBytes = kChunk / 4 * kQuadBytes;

static void columns_block(size_t m, size_t count, const int8_t* q, size_t q_stride,
                          const int32_t* q_sums, const uint8_t* w, size_t row_bytes, int32_t* sums,
                          size_t stride) {
  alignas(64) uint8_t packed[2 * kHalfBytes], panel[kHalfBytes];
  const __mmask16 full = 0xffff;
  const __m512i mask = _mm512_set1_epi8(3);
  size_t k = 0;
  do {
    const size_t here = count - k < kChunk ? count - k : kChunk, groups = (here + 3) / 4;
    for (size_t g = 0; g < groups; g++) {
      const uint8_t* column[4];  // past the last one, where q is 0, it is repeated
      UNROLL for (size_t c = 0; c < 4; c++) {
        const size_t at = k + 4 * g + c;
        column[c] = w + (at < count ? at : count - 1) * row_bytes;
      }
      interleave_4(column, packed + g * kQuadBytes, kHalfBytes);
    }
    for (int field = 0; field < 8; field++) {  // 4 of each half
      const uint8_t* from = packed + field % 2 * kHalfBytes;
      const __m128i shift = _mm_cvtsi32_si128(field / 2 * 2);
      for (size_t i = 0; i < groups * kQuadBytes; i += 64) {
        const __m512i codes = _mm512_srl_epi16(_mm512_loadu_si512(from + i), shift);
        _mm512_storeu_si512(panel + i, _mm512_and_si512(codes, mask));
      }
      tiles(m, groups, panel, q + k, q_stride, k ? nullptr : q_sums, full, full,
            sums + field / 2 * 64 + field % 2 * 32, stride);
    }
    k += kChunk;
  } while (k < count);
}

void ternary_columns_gemm_avx512vnni(size_t m, size_t count, size_t blocks, const int8_t* q,
                                     size_t q_stride, const int32_t* q_sums, const uint8_t* w,
                                     size_t row_bytes, int32_t* sums, size_t stride) {
  for (size_t b = 0; b < blocks; b++) {
    columns_block(m, count, q, q_stride, q_sums, w + b * kBlockBytes, row_bytes, sums + b * kBlockK,
                  stride);
  }
}

}  // namespace bitnet
