// How attention is split into jobs, and the steps of one, which each type of cache has its own of:
// those of float32 and float16 are in attention.cc, those of int8 in attention_int8.cc.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <atomic>

#include "operators/attention/attention.h"
#include "platform/float16.h"
#include "platform/sizes.h"

namespace bitnet {

constexpr size_t kFewJobs = 16;   // fewer are split further, so that all threads have work
constexpr size_t kSplitJobs = 4;  // fewer are all split
// Positions of one task. Their values have sums of their own, which are then added up.
constexpr size_t kSpan = kAttendSpan;

// One new position of one row, and one KV head with the heads that read it.
struct Job {
  size_t b, g, i;
  size_t positions;  // that it attends to
};

inline size_t jobs_of(const Attention& op) { return op.batch * op.kv_heads * op.count; }

inline Job job_of(const Attention& op, size_t index) {
  const size_t i = index % op.count, pair = index / op.count;
  const size_t b = pair / op.kv_heads;
  return {b, pair % op.kv_heads, i, past_length(op, b) + i + 1};
}

// Positions of the longest job.
inline size_t longest(const Attention& op) {
  size_t most = 0;
  for (size_t b = 0; b < op.batch; b++) {
    const size_t positions = past_length(op, b) + op.count;
    most = positions > most ? positions : most;
  }
  return most;
}

// Scratch of one job.
struct Room {
  size_t stride, width, group;
  double* q;                      // [group, width]: d, padded
  double* sums;                   // [slots, group, width]: of the first spans, and of each one
  double* weights;                // [group, stride]
  double* totals;                 // [group]: sums of the weights
  std::atomic<size_t>* unscored;  // spans that have no scores yet
  std::atomic<size_t>* unsummed;  // spans that have no sums yet
  std::atomic<size_t>* joined;    // so many spans, the first ones, are in the first slot
  float* scores;                  // [group, stride]
  float* factors;                 // [group], of an int8 cache
  int16_t* codes;                 // [group, d padded]: the query, of an int8 cache
  static size_t slots(const Attention& op) {
    const size_t spans = parts(longest(op), kSpan);
    return jobs_of(op) < kFewJobs && spans > 2 ? spans : 2;
  }
  static size_t bytes(const Attention& op) {
    const size_t group = op.heads / op.kv_heads, stride = longest(op);
    const size_t doubles = group * ((1 + slots(op)) * padded(op.d, kPadHead) + stride + 1);
    const size_t counters = sizeof *unscored + sizeof *unsummed + sizeof *joined;
    const size_t head = (stride + 1) * sizeof(float) + padded(op.d, kPadInt8) * sizeof(int16_t);
    return padded(doubles * sizeof(double) + counters + group * head, 64);
  }
};

inline Room room_of(const Attention& op, void* scratch, size_t index) {
  Room room = {};
  room.stride = longest(op);
  room.width = padded(op.d, kPadHead);
  room.group = op.heads / op.kv_heads;
  room.q = reinterpret_cast<double*>(static_cast<char*>(scratch) + index * Room::bytes(op));
  room.sums = room.q + room.group * room.width;
  room.weights = room.sums + Room::slots(op) * room.group * room.width;
  room.totals = room.weights + room.group * room.stride;
  room.unscored = reinterpret_cast<std::atomic<size_t>*>(room.totals + room.group);
  room.unsummed = room.unscored + 1;
  room.joined = room.unsummed + 1;
  room.scores = reinterpret_cast<float*>(room.joined + 1);
  room.factors = room.scores + room.group * room.stride;
  room.codes = reinterpret_cast<int16_t*>(room.factors + room.group);
  return room;
}

// The first position of a job, as a row of the caches.
inline size_t first_of(const Attention& op, const Job& job) {
  return (job.b * op.kv_heads + job.g) * op.room;
}

// The first head of a job, as a row of the result.
inline size_t head_of(const Attention& op, const Job& job) {
  return ((job.b * op.count + job.i) * op.kv_heads + job.g) * (op.heads / op.kv_heads);
}

// The queries of a job: its heads, one after the other.
inline const float* query_of(const Attention& op, const Job& job) {
  const float* query = op.query + (job.b * op.count + job.i) * op.query_stride;
  return query + job.g * (op.heads / op.kv_heads) * op.d;
}

// Positions begin to end, at most kSpan.
struct Span {
  size_t begin, end;
};

inline Span span_of(const Job& job, size_t index) {
  return {index * kSpan, smaller((index + 1) * kSpan, job.positions)};
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

// What attention does that depends on what the caches hold.
struct Steps {
  size_t item;  // bytes of one element of a cache
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

extern const Steps kInt8Steps;

}  // namespace bitnet
