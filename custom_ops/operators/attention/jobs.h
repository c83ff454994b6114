// How attention is split into jobs (jobs.cc), and the steps of one. Each type of cache has steps of
// its own: float32 and float16 in attention_float.cc, int8 and int4 in attention_int8.cc.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <atomic>

#include "operators/attention/attention.h"
#include "platform/float16.h"
#include "platform/sizes.h"

namespace bitnet {

constexpr size_t kFewJobs = 16;   // fewer may be split further, so that all threads have work
constexpr size_t kSplitJobs = 4;  // fewer are all split
constexpr size_t kLongSpans = 4;  // jobs of fewer spans are never split
constexpr size_t kWorkers = 32;   // tasks that share the jobs
// Positions of one task. Their values have a sum of their own; these sums are then added in order.
constexpr size_t kSpan = kAttendSpan;
// How many sums of spans a split job keeps before it adds them: those of 16 thousand positions.
constexpr size_t kSlots = 257;
// Bytes of scratch for all jobs that run at a time. One job of kAttendRows heads takes 48 bytes a
// position, so the limit holds for up to a million positions.
constexpr size_t kScratchLimit = size_t{64} << 20;

// One new position of one row, and heads that read the same KV head.
struct Job {
  size_t b, g, i;
  size_t head, heads;       // among those of the KV head: the first, and how many
  size_t first, positions;  // it attends to those from `first` on, up to `positions` - 1
};

// How attention is split into jobs, and how many of them have scratch at a time.
struct Plan {
  size_t heads;    // of a job, at most: all of a KV head, or some where their scratch is too large
  size_t pieces;   // jobs of the heads of one KV head
  size_t jobs;     // in all
  size_t rooms;    // jobs with scratch
  size_t slots;    // sums of spans that each of these keeps
  size_t longest;  // positions of the longest job
  size_t spans;    // of a job, at most
  bool split;      // a job's spans are tasks
};
Plan plan_of(const Attention& op);
Job job_of(const Attention& op, const Plan& plan, size_t index);

// Scratch of one job.
struct Room {
  size_t stride, width, group;
  double* q;                      // [group, width]: d, padded
  double* sums;                   // [slots, group, width]: of the first spans, and of each one
  double* weights;                // [group, stride]
  double* totals;                 // [group]: sums of the weights
  std::atomic<size_t>* unscored;  // spans that have no scores yet
  std::atomic<size_t>* unsummed;  // spans that have no sums yet
  std::atomic<size_t>* joined;    // how many spans, the first ones, are in the first slot
  float* scores;                  // [group, stride]
  float* factors;                 // [group], of an int8 or int4 cache
  int16_t* codes;                 // [group, d padded]: the query, of an int8 or int4 cache
  const int8_t* next;             // keys that are read after this job, of an int8 cache; or null
};
Room room_of(const Attention& op, const Plan& plan, void* scratch, size_t index);

// The first position of a job, as a row of the caches.
inline size_t first_of(const Attention& op, const Job& job) {
  return (job.b * op.kv_heads + job.g) * op.room;
}

// The first head of a job, as a row of the result.
inline size_t head_of(const Attention& op, const Job& job) {
  return ((job.b * op.count + job.i) * op.kv_heads + job.g) * (op.heads / op.kv_heads) + job.head;
}

// The queries of a job: its heads, one after the other.
inline const float* query_of(const Attention& op, const Job& job) {
  const float* query = op.query + (job.b * op.count + job.i) * op.query_stride;
  return query + (job.g * (op.heads / op.kv_heads) + job.head) * op.d;
}

// Positions begin to end, at most kSpan. Spans end at multiples of kSpan, wherever a job starts.
struct Span {
  size_t begin, end;
};

inline size_t spans_of(const Job& job) { return parts(job.positions, kSpan) - job.first / kSpan; }

inline Span span_of(const Job& job, size_t index) {
  const size_t begin = (job.first / kSpan + index) * kSpan;
  return {larger(begin, job.first), smaller(begin + kSpan, job.positions)};
}

inline void put(float value, double* to) { *to = static_cast<double>(value); }
inline void put(float value, float* to) { *to = value; }
inline void put(float value, uint16_t* to) { *to = round_f16(value); }

// x, rotated by its position, one head.
template <typename Out>
void rotate(const Kernels& kernels, const Attention& op, size_t position, const float* x,
            Out* out) {
  constexpr size_t kAtOnce = 64;
  const size_t half = op.d / 2;
  const float *cos = op.cos + position * half, *sin = op.sin + position * half;
  for (size_t i = 0; i < half; i += kAtOnce) {
    float low[kAtOnce], high[kAtOnce];
    const size_t count = smaller(kAtOnce, half - i);
    kernels.rotate(count, x + i, x + half + i, cos + i, sin + i, low, high);
    for (size_t j = 0; j < count; j++) put(low[j], out + i + j);
    for (size_t j = 0; j < count; j++) put(high[j], out + half + i + j);
  }
}

// The steps that depend on the type of the cache.
struct Steps {
  // A new position's key, rotated, and value become a row of the caches.
  void (*store)(const Kernels& kernels, const Attention& op, size_t position, const float* key,
                const float* value, size_t row);
  // The rotated heads of a job.
  void (*rotate_query)(const Kernels& kernels, const Attention& op, const Job& job,
                       const Room& room);
  void (*score)(const Kernels& kernels, const Attention& op, const Job& job, const Room& room,
                const Span& span);
  // sums [group, width] += the values of a span; float caches: position after position
  void (*blend)(const Kernels& kernels, const Attention& op, const Job& job, const Room& room,
                const Span& span, double* sums);
  // room.sums += the sums of the values of a span, which may be put at `one` first
  void (*accumulate)(const Kernels& kernels, const Attention& op, const Job& job, const Room& room,
                     const Span& span, double* one);
};

extern const Steps kFloat32Steps, kFloat16Steps;
extern const Steps kInt8Steps;  // of int4, too

// Multiplies each block of x, one head, by Hadamard's matrix, whose inverse is its quotient by the
// size of a block: the largest power of two that divides d.
void turn(size_t d, float* x);
void turn_back(size_t d, float* x);

}  // namespace bitnet
