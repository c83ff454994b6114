// Attention over an int8 or int4 cache. The products are integers, so their sums are exact.
#include <math.h>
#include <string.h>

#include "operators/attention/jobs.h"

namespace bitnet {
namespace {

constexpr size_t kCodes = kAttendDepth + kCacheBlock;  // of a row, with what is left of its blocks

// A group of codes becomes the bits from `shift` on of a block: its codes, each rounded to a
// multiple of m, and m - 2. No code is -128, so the m are 2 to 17 and the multiples -7 to 7.
void pack(const int8_t* codes, int shift, uint8_t* block) {
  int most = 0;
  for (size_t j = 0; j < kCacheGroup; j++) {
    const int size = codes[j] < 0 ? -codes[j] : codes[j];
    most = most > size ? most : size;
  }
  const int exact = 2 * most / 15 + 1, m = exact > 2 ? exact : 2;
  for (size_t j = 0; j < kCacheGroup; j++) {
    const float shifted = static_cast<float>(codes[j]) / static_cast<float>(m) + kRoundMagic;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    block[j] |= static_cast<uint8_t>((bits - kRoundMagicBits + 8) << shift);
  }
  block[kCacheGroup] |= static_cast<uint8_t>((m - 2) << shift);
}

// x, one head, becomes a row of the caches and its scale: x is about codes * scale. A NaN scale,
// where x is not finite, makes all that is computed from the row NaN.
void keep(const Kernels& kernels, const Attention& op, float* x, void* cache, float* scales,
          size_t row) {
  const bool packed = op.cache == CacheType::kInt4;
  uint8_t* to = static_cast<uint8_t*>(cache) + row * row_bytes(op.cache, op.d);
  int8_t codes[kCodes];
  int32_t sum;
  if (packed) turn(op.d, x);
  scales[row] = 1.0f / kernels.quantize_int8(x, op.d, op.d, codes, &sum);
  if (!packed) {
    memcpy(to, codes, op.d);
    return;
  }
  memset(codes + op.d, 0, kCacheBlock);
  for (size_t i = 0; i < op.d; i += kCacheBlock, to += kCacheBytes) {
    memset(to, 0, kCacheBytes);
    pack(codes + i, 0, to);
    pack(codes + i + kCacheGroup, 4, to);
  }
}

void store(const Kernels& kernels, const Attention& op, size_t position, const float* key,
           const float* value, size_t row) {
  float x[kAttendDepth];
  rotate(kernels, op, position, key, x);
  keep(kernels, op, x, op.present_key, op.present_key_scale, row);
  memcpy(x, value, op.d * sizeof *x);
  keep(kernels, op, x, op.present_value, op.present_value_scale, row);
}

void rotate_query(const Kernels& kernels, const Attention& op, const Job& job, const Room& room) {
  const float root = sqrtf(static_cast<float>(op.d));
  const size_t width = padded(op.d, kPadInt8);
  for (size_t h = 0; h < room.group; h++) {
    float rotated[kAttendDepth];
    rotate(kernels, op, job.positions - 1, query_of(op, job) + h * op.d, rotated);
    if (op.cache == CacheType::kInt4) turn_back(op.d, rotated);
    const float scale = kernels.quantize_int16(rotated, op.d, width, room.codes + h * width);
    room.factors[h] = 1.0f / scale / root;
  }
}

// The rows of a span as int8, which may be put at `codes` first.
const int8_t* rows_of(const Kernels& kernels, const Attention& op, const void* cache, size_t first,
                      size_t count, int8_t* codes) {
  const uint8_t* rows = static_cast<const uint8_t*>(cache) + first * row_bytes(op.cache, op.d);
  if (op.cache == CacheType::kInt8) return reinterpret_cast<const int8_t*>(rows);
  kernels.attend_unpack_int4(count, op.d, rows, codes);
  return codes;
}

void score(const Kernels& kernels, const Attention& op, const Job& job, const Room& room,
           const Span& span) {
  const size_t first = first_of(op, job) + span.begin, count = span.end - span.begin;
  const size_t width = padded(op.d, kPadInt8);
  int8_t unpacked[kSpan * kAttendDepth + kCacheBlock];
  const int8_t* keys = rows_of(kernels, op, op.present_key, first, count, unpacked);
  const int8_t* values = static_cast<const int8_t*>(op.present_value) + first * op.d;
  if (op.cache == CacheType::kInt4) values = keys;  // unpacking prefetches
  for (size_t h = 0; h < room.group; h += kAttendRows) {
    kernels.attend_scores_int8(smaller(kAttendRows, room.group - h), count, op.d,
                               room.codes + h * width, keys, op.present_key_scale + first,
                               room.factors + h, values, room.scores + h * room.stride + span.begin,
                               room.stride);
  }
}

void blend(const Kernels& kernels, const Attention& op, const Job& job, const Room& room,
           const Span& span, double* sums) {
  const size_t first = first_of(op, job) + span.begin, count = span.end - span.begin;
  int8_t unpacked[kSpan * kAttendDepth + kCacheBlock];
  const int8_t* values = rows_of(kernels, op, op.present_value, first, count, unpacked);
  const int8_t* next = room.next ? room.next + (span.begin - job.first) * op.d : values;
  for (size_t h = 0; h < room.group; h += kAttendRows) {
    const size_t rows = smaller(kAttendRows, room.group - h);
    int16_t codes[kAttendRows * kSpan];
    double scales[kAttendRows];
    kernels.attend_weights_int8(rows, count, room.weights + h * room.stride + span.begin,
                                room.stride, op.present_value_scale + first, codes, scales);
    kernels.attend_values_int8(rows, count, op.d, codes, values, scales, next,
                               sums + h * room.width, room.width);
  }
}

// The kernel adds the one rounded sum of the span.
void accumulate(const Kernels& kernels, const Attention& op, const Job& job, const Room& room,
                const Span& span, double*) {
  blend(kernels, op, job, room, span, room.sums);
}

constexpr size_t kTurned = 4;  // pairs at a time, one vector

// low and high become their sums and differences.
template <size_t N>
inline void add_pairs(float* low, float* high) {
  float a[N], b[N], sums[N], differences[N];
  memcpy(a, low, sizeof a);
  memcpy(b, high, sizeof b);
  for (size_t i = 0; i < N; i++) sums[i] = a[i] + b[i];
  for (size_t i = 0; i < N; i++) differences[i] = a[i] - b[i];
  memcpy(low, sums, sizeof a);
  memcpy(high, differences, sizeof b);
}

size_t block_of(size_t d) { return d & (~d + 1); }

}  // namespace

void turn(size_t d, float* x) {
  const size_t block = block_of(d);
  size_t half = 1;
  for (; half < kTurned && half < block; half *= 2) {
    for (size_t i = 0; i < d; i += 2 * half) {
      for (size_t j = i; j < i + half; j++) add_pairs<1>(x + j, x + j + half);
    }
  }
  for (; half < block; half *= 2) {
    for (size_t i = 0; i < d; i += 2 * half) {
      for (size_t j = i; j < i + half; j += kTurned) add_pairs<kTurned>(x + j, x + j + half);
    }
  }
}

void turn_back(size_t d, float* x) {
  turn(d, x);
  for (size_t i = 0; i < d; i++) x[i] /= static_cast<float>(block_of(d));
}

const Steps kInt8Steps = {store, rotate_query, score, blend, accumulate};

}  // namespace bitnet
