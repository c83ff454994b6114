// Attention over a float32 or float16 cache. Its sums are float64, position after position.
#include <math.h>
#include <string.h>

#include "operators/attention/jobs.h"

namespace bitnet {
namespace {

AttendScores<float>* scores_of(const Kernels& kernels, float) { return kernels.attend_scores; }
AttendScores<uint16_t>* scores_of(const Kernels& kernels, uint16_t) {
  return kernels.attend_scores_f16;
}
AttendValues<float>* values_of(const Kernels& kernels, float) { return kernels.attend_values; }
AttendValues<uint16_t>* values_of(const Kernels& kernels, uint16_t) {
  return kernels.attend_values_f16;
}

template <typename Cache>
void store(const Kernels& kernels, const Attention& op, size_t position, const float* key,
           const float* value, size_t row) {
  rotate(kernels, op, position, key, static_cast<Cache*>(op.present_key) + row * op.d);
  Cache* kept = static_cast<Cache*>(op.present_value) + row * op.d;
  for (size_t i = 0; i < op.d; i++) put(value[i], kept + i);
}

void rotate_query(const Kernels& kernels, const Attention& op, const Job& job, const Room& room) {
  for (size_t h = 0; h < room.group; h++) {
    double* q = room.q + h * room.width;
    rotate(kernels, op, job.positions - 1, query_of(op, job) + h * op.d, q);
    for (size_t i = op.d; i < room.width; i++) q[i] = 0;
  }
}

template <typename Cache>
void score(const Kernels& kernels, const Attention& op, const Job& job, const Room& room,
           const Span& span) {
  const float root = sqrtf(static_cast<float>(op.d));
  const Cache* keys = static_cast<const Cache*>(op.present_key) + first_of(op, job) * op.d;
  for (size_t h = 0; h < room.group; h += kAttendRows) {
    scores_of(kernels, Cache())(smaller(kAttendRows, room.group - h), span.end - span.begin, op.d,
                                room.q + h * room.width, keys + span.begin * op.d, root,
                                room.scores + h * room.stride + span.begin, room.stride);
  }
}

template <typename Cache>
void blend(const Kernels& kernels, const Attention& op, const Job& job, const Room& room,
           const Span& span, double* sums) {
  const Cache* values = static_cast<const Cache*>(op.present_value) + first_of(op, job) * op.d;
  // One query's values come from memory, those of many from a cache.
  const size_t block = op.count == 1 ? kAttendAhead : kSpan;
  for (size_t t = span.begin; t < span.end; t += block) {
    for (size_t h = 0; h < room.group; h += kAttendRows) {
      values_of(kernels, Cache())(smaller(kAttendRows, room.group - h),
                                  smaller(block, span.end - t), op.d, op.d,
                                  room.weights + h * room.stride + t, room.stride,
                                  values + t * op.d, sums + h * room.width, room.width);
    }
  }
}

template <typename Cache>
void accumulate(const Kernels& kernels, const Attention& op, const Job& job, const Room& room,
                const Span& span, double* one) {
  const size_t slot = room.group * room.width;
  memset(one, 0, slot * sizeof *one);
  blend<Cache>(kernels, op, job, room, span, one);
  kernels.add_reals(slot, one, room.sums);
}

template <typename Cache>
constexpr Steps kSteps = {store<Cache>, rotate_query, score<Cache>, blend<Cache>,
                          accumulate<Cache>};

}  // namespace

const Steps kFloat32Steps = kSteps<float>, kFloat16Steps = kSteps<uint16_t>;

}  // namespace bitnet
