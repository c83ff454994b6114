// Attention over an int8 cache. The products are integers, so their sums are exact.
#include <math.h>

#include "operators/attention/jobs.h"

namespace bitnet {
namespace {

// A row of the caches and its scale: x is about codes * scale. A NaN scale, where x is not finite,
// makes all that is computed from the row NaN.
void quantize(const Kernels& kernels, const Attention& op, const float* x, void* codes,
              float* scales, size_t row) {
  int32_t sum;
  int8_t* to = static_cast<int8_t*>(codes) + row * op.d;
  scales[row] = 1.0f / kernels.quantize_int8(x, op.d, op.d, to, &sum);
}

void store(const Kernels& kernels, const Attention& op, size_t position, const float* key,
           const float* value, size_t row) {
  float rotated[kAttendDepth];
  rotate(kernels, op, position, key, rotated);
  quantize(kernels, op, rotated, op.present_key, op.present_key_scale, row);
  quantize(kernels, op, value, op.present_value, op.present_value_scale, row);
}

void rotate_query(const Kernels& kernels, const Attention& op, const Job& job, const Room& room) {
  const float root = sqrtf(static_cast<float>(op.d));
  const size_t width = padded(op.d, kPadInt8);
  for (size_t h = 0; h < room.group; h++) {
    float rotated[kAttendDepth];
    rotate(kernels, op, job.positions - 1, query_of(op, job) + h * op.d, rotated);
    const float scale = kernels.quantize_int16(rotated, op.d, width, room.codes + h * width);
    room.factors[h] = 1.0f / scale / root;
  }
}

void score(const Kernels& kernels, const Attention& op, const Job& job, const Room& room,
           const Span& span) {
  const size_t first = first_of(op, job) + span.begin, width = padded(op.d, kPadInt8);
  const int8_t* keys = static_cast<const int8_t*>(op.present_key) + first * op.d;
  const int8_t* values = static_cast<const int8_t*>(op.present_value) + first * op.d;
  for (size_t h = 0; h < room.group; h += kAttendRows) {
    kernels.attend_scores_int8(smaller(kAttendRows, room.group - h), span.end - span.begin, op.d,
                               room.codes + h * width, keys, op.present_key_scale + first,
                               room.factors + h, values, room.scores + h * room.stride + span.begin,
                               room.stride);
  }
}

void blend(const Kernels& kernels, const Attention& op, const Job& job, const Room& room,
           const Span& span, double* sums) {
  const size_t first = first_of(op, job) + span.begin, count = span.end - span.begin;
  const int8_t* values = static_cast<const int8_t*>(op.present_value) + first * op.d;
  for (size_t h = 0; h < room.group; h += kAttendRows) {
    const size_t rows = smaller(kAttendRows, room.group - h);
    int16_t codes[kAttendRows * kSpan];
    double scales[kAttendRows];
    kernels.attend_weights_int8(rows, count, room.weights + h * room.stride + span.begin,
                                room.stride, op.present_value_scale + first, codes, scales);
    kernels.attend_values_int8(rows, count, op.d, codes, values, scales, sums + h * room.width,
                               room.width);
  }
}

// The kernel adds the one rounded sum of the span.
void accumulate(const Kernels& kernels, const Attention& op, const Job& job, const Room& room,
                const Span& span, double*) {
  blend(kernels, op, job, room, span, room.sums);
}

}  // namespace

const Steps kInt8Steps = {sizeof(int8_t), store, rotate_query, score, blend, accumulate};

}  // namespace bitnet
