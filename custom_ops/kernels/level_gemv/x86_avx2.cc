#include "kernels/x86_avx2.h"

#include "kernels/level_gemv/level_gemv.h"

namespace bitnet {

static constexpr size_t kAhead = 12288;

// maddubs adds two products to an int16 lane: of 6 bits, two maddubs may be added, of 4 bits eight.
static_assert(2 * 2 * 63 * 128 <= 32768 && 8 * 2 * 15 * 128 <= 32768, "int16 lanes");

// Weights 32 t to 32 t + 31 of a block, t < 8.
template <int Bits>
static inline __m256i codes_of(const uint8_t* block, int t) {
  __m256i low = load(block + t / 4 * 64 + t % 2 * 32);
  if (t & 2) low = _mm256_srli_epi16(low, 4);
  low = _mm256_and_si256(low, _mm256_set1_epi8(15));
  if (Bits == 4) return low;
  const __m256i packed = load(block + kInt4Bytes + t % 2 * 32);
  const __m256i moved = t / 2 == 3   ? _mm256_srli_epi16(packed, 2)
                        : t / 2 == 2 ? packed
                                     : _mm256_slli_epi16(packed, t / 2 == 1 ? 2 : 4);
  return _mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(48)));
}

// The sums of four products of all vectors, by lane.
template <int Bits>
static inline __m256i block_sums(const __m256i codes[8], const int8_t* q) {
  constexpr int kTurns = Bits == 4 ? 8 : 2;
  __m256i sum = _mm256_setzero_si256();
  UNROLL for (int t = 0; t < 8; t += kTurns) {
    __m256i words = _mm256_maddubs_epi16(codes[t], load(q + 32 * t));
    UNROLL for (int i = 1; i < kTurns; i++) {
      words = _mm256_add_epi16(words, _mm256_maddubs_epi16(codes[t + i], load(q + 32 * (t + i))));
    }
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
  }
  return sum;
}

template <int Bits>
static int64_t row_sum(size_t blocks, const SplitBlock* x, const uint8_t* codes,
                       const int8_t* levels) {
  __m256i acc = _mm256_setzero_si256();
  for (size_t b = 0; b < blocks; b++, codes += 32 * Bits, levels += kLevels) {
    UNROLL for (int line = 0; line < Bits / 2; line++) PREFETCH_FAR(codes + 64 * line + kAhead);
    __m256i code[8];
    UNROLL for (int t = 0; t < 8; t++) code[t] = codes_of<Bits>(codes, t);
    const __m256i low = block_sums<Bits>(code, x[b].low), high = block_sums<Bits>(code, x[b].high);
    const __m256i zeros = _mm256_slli_epi32(load(x[b].sums), Bits - 1);
    const __m256i sum = _mm256_sub_epi32(_mm256_add_epi32(low, _mm256_slli_epi32(high, 8)), zeros);
    const __m256i level =
        _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(levels)));
    acc = _mm256_add_epi64(acc, _mm256_mul_epi32(sum, level));
    acc = _mm256_add_epi64(
        acc, _mm256_mul_epi32(_mm256_srli_epi64(sum, 32), _mm256_srli_epi64(level, 32)));
  }
  int64_t words[4];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), acc);
  return words[0] + words[1] + words[2] + words[3];
}

}  // namespace bitnet

#define ISA(name) name##_avx2
#include "kernels/level_gemv/by_rows.inc"
