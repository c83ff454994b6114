#include "attention.h"

#include <math.h>
#include <string.h>

#include <atomic>
#include <new>

#include "float16.h"
#include "sizes.h"

namespace bitnet {
namespace {

constexpr size_t kFewJobs = 16;     // fewer are split further, so that all threads have work
constexpr size_t kWorkers = 32;     // tasks that share many jobs
constexpr size_t kRotateRows = 16;  // new positions of one task
constexpr size_t kBlock = 16;       // positions whose values stay in the first cache for all heads
// Positions of one task. Their values have sums of their own, which are then added up.
constexpr size_t kSpan = 64;

// One new position of one row, and one KV head with the heads that read it.
struct Job {
  size_t b, g, i;
  size_t positions;  // that it attends to
};

size_t jobs_of(const Attention& op) { return op.batch * op.kv_heads * op.count; }

Job job_of(const Attention& op, size_t index) {
  const size_t i = index % op.count, pair = index / op.count;
  const size_t b = pair / op.kv_heads;
  return {b, pair % op.kv_heads, i, past_length(op, b) + i + 1};
}

// Positions of the longest job.
size_t longest(const Attention& op) {
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
  double* q;        // [group, width]: d, padded
  double* sums;     // [slots, group, width]: of each span, or of all and of one
  double* weights;  // [group, stride]
  double* totals;   // [group]: sums of the weights
  std::atomic<size_t>* unscored;  // spans that have no scores yet
  std::atomic<size_t>* unsummed;  // spans that have no sums yet
  float* scores;                  // [group, stride]
  static size_t slots(const Attention& op) {
    return jobs_of(op) < kFewJobs ? parts(longest(op), kSpan) : 2;
  }
  static size_t bytes(const Attention& op) {
    const size_t group = op.heads / op.kv_heads, stride = longest(op);
    const size_t doubles =
        group * ((1 + slots(op)) * padded(op.d, kPadHead) + stride + 1);
    const size_t counters = sizeof *unscored + sizeof *unsummed;
    return padded(doubles * sizeof(double) + counters + group * stride * sizeof(float), 64);
  }
};

Room room_of(const Attention& op, void* scratch, size_t index) {
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
  room.scores = reinterpret_cast<float*>(room.unsummed + 1);
  return room;
}

// Where a job's keys and values begin in the caches.
size_t first_of(const Attention& op, const Job& job) {
  return (job.b * op.kv_heads + job.g) * op.room * op.d;
}

size_t item(const Attention& op) { return op.half ? sizeof(uint16_t) : sizeof(float); }

void put(float value, double* to) { *to = static_cast<double>(value); }
void put(float value, float* to) { *to = value; }
void put(float value, uint16_t* to) { *to = round_f16(value); }

// x, rotated by its position, one head.
template <typename Out>
void rotate(const Attention& op, size_t position, const float* x, Out* RESTRICT out) {
  const size_t half = op.d / 2;
  const float *cos = op.cos + position * half, *sin = op.sin + position * half;
  for (size_t i = 0; i < half; i++) {
    put(x[i] * cos[i] - x[half + i] * sin[i], out + i);
    put(x[half + i] * cos[i] + x[i] * sin[i], out + half + i);
  }
}

void keep_past(const Attention& op, const void* past, void* present, const Pool& pool) {
  if (past == present) return;
  parallel(pool, op.batch * op.kv_heads, [&](size_t head) {
    const size_t row = op.d * item(op), kept = op.past * row, room = op.room * row;
    char* to = static_cast<char*>(present) + head * room;
    if (kept) memcpy(to, static_cast<const char*>(past) + head * kept, kept);
    memset(to + kept, 0, room - kept);
  });
}

template <typename Cache>
void append(const Attention& op, const Pool& pool) {
  Cache* keys = static_cast<Cache*>(op.present_key);
  Cache* values = static_cast<Cache*>(op.present_value);
  const size_t rows = op.batch * op.count;
  parallel(pool, parts(rows, kRotateRows), [&](size_t task) {
    for (size_t row = task * kRotateRows; row < smaller(rows, (task + 1) * kRotateRows); row++) {
      const size_t b = row / op.count, position = past_length(op, b) + row % op.count;
      for (size_t g = 0; g < op.kv_heads; g++) {
        const size_t from = row * op.kv_stride + g * op.d;
        const size_t to = ((b * op.kv_heads + g) * op.room + position) * op.d;
        rotate(op, position, op.key + from, keys + to);
        for (size_t i = 0; i < op.d; i++) put(op.value[from + i], values + to + i);
      }
    }
  });
}

void rotate_query(const Attention& op, const Job& job, const Room& room) {
  const float* query = op.query + (job.b * op.count + job.i) * op.query_stride;
  for (size_t h = 0; h < room.group; h++) {
    double* q = room.q + h * room.width;
    rotate(op, job.positions - 1, query + (job.g * room.group + h) * op.d, q);
    for (size_t i = op.d; i < room.width; i++) q[i] = 0;
  }
}

AttendScores<float> scores_of(const Kernel& kernel, float) { return kernel.attend_scores; }
AttendScores<uint16_t> scores_of(const Kernel& kernel, uint16_t) {
  return kernel.attend_scores_f16;
}
AttendValues<float> values_of(const Kernel& kernel, float) { return kernel.attend_values; }
AttendValues<uint16_t> values_of(const Kernel& kernel, uint16_t) {
  return kernel.attend_values_f16;
}

// Positions begin to end, at most kSpan.
struct Span {
  size_t begin, end;
};

Span span_of(const Job& job, size_t index) {
  return {index * kSpan, smaller((index + 1) * kSpan, job.positions)};
}

template <typename Cache>
void score(const Kernel& kernel, const Attention& op, const Job& job, const Room& room,
           const Span& span) {
  const float root = sqrtf(static_cast<float>(op.d));
  const Cache* keys = static_cast<const Cache*>(op.present_key) + first_of(op, job);
  for (size_t h = 0; h < room.group; h += kAttendRows) {
    scores_of(kernel, Cache())(smaller(kAttendRows, room.group - h), span.end - span.begin, op.d,
                               room.q + h * room.width, keys + span.begin * op.d, root,
                               room.scores + h * room.stride + span.begin, room.stride);
  }
}

void softmax(const Kernel& kernel, const Job& job, const Room& room) {
  for (size_t h = 0; h < room.group; h++) {
    room.totals[h] = kernel.attend_softmax(job.positions, room.scores + h * room.stride,
                                           room.weights + h * room.stride);
  }
}

// sums [group, width] of the values of a span
template <typename Cache>
void blend(const Kernel& kernel, const Attention& op, const Job& job, const Room& room,
           const Span& span, double* sums) {
  const Cache* values = static_cast<const Cache*>(op.present_value) + first_of(op, job);
  memset(sums, 0, room.group * room.width * sizeof(double));
  for (size_t t = span.begin; t < span.end; t += kBlock) {
    for (size_t h = 0; h < room.group; h += kAttendRows) {
      values_of(kernel, Cache())(smaller(kAttendRows, room.group - h),
                                 smaller(kBlock, span.end - t), op.d, op.d,
                                 room.weights + h * room.stride + t, room.stride,
                                 values + t * op.d, sums + h * room.width, room.width);
    }
  }
}

void add(const Room& room, const double* sums) {
  for (size_t i = 0; i < room.group * room.width; i++) room.sums[i] += sums[i];
}

// The result, of all spans' sums in the first slot.
void finish(const Attention& op, const Job& job, const Room& room) {
  const size_t first = ((job.b * op.count + job.i) * op.kv_heads + job.g) * room.group;
  for (size_t h = 0; h < room.group; h++) {
    float* y = op.y + (first + h) * op.d;
    for (size_t i = 0; i < op.d; i++) {
      y[i] = static_cast<float>(room.sums[h * room.width + i] / room.totals[h]);
    }
  }
}

// Decode: each span of a job is a task. Whoever scores a job's last one takes the softmax, and
// whoever sums up the last one's values adds all sums, in the order of the spans.
template <typename Cache>
void few(const Kernel& kernel, const Attention& op, void* scratch, const Pool& pool) {
  const size_t jobs = jobs_of(op), spans = Room::slots(op);
  for (size_t index = 0; index < jobs; index++) {
    const Room room = room_of(op, scratch, index);
    const Job job = job_of(op, index);
    rotate_query(op, job, room);
    new (room.unscored) std::atomic<size_t>(parts(job.positions, kSpan));
    new (room.unsummed) std::atomic<size_t>(parts(job.positions, kSpan));
  }
  parallel(pool, jobs * spans, [&](size_t task) {
    const Room room = room_of(op, scratch, task / spans);
    const Job job = job_of(op, task / spans);
    const Span span = span_of(job, task % spans);
    if (span.begin >= span.end) return;
    score<Cache>(kernel, op, job, room, span);
    if (room.unscored->fetch_sub(1) == 1) softmax(kernel, job, room);
  });
  parallel(pool, jobs * spans, [&](size_t task) {
    const Room room = room_of(op, scratch, task / spans);
    const Job job = job_of(op, task / spans);
    const Span span = span_of(job, task % spans);
    if (span.begin >= span.end) return;
    const size_t slot = room.group * room.width;
    blend<Cache>(kernel, op, job, room, span, room.sums + task % spans * slot);
    if (room.unsummed->fetch_sub(1) != 1) return;
    for (size_t i = 1; i < parts(job.positions, kSpan); i++) add(room, room.sums + i * slot);
    finish(op, job, room);
  });
}

// Prefill: every task takes each kWorkers-th job, so that long and short ones are shared out.
template <typename Cache>
void many(const Kernel& kernel, const Attention& op, void* scratch, const Pool& pool) {
  const size_t jobs = jobs_of(op);
  parallel(pool, kWorkers, [&](size_t worker) {
    const Room room = room_of(op, scratch, worker);
    double* one = room.sums + room.group * room.width;
    for (size_t index = worker; index < jobs; index += kWorkers) {
      const Job job = job_of(op, index);
      const size_t spans = parts(job.positions, kSpan);
      rotate_query(op, job, room);
      for (size_t i = 0; i < spans; i++) score<Cache>(kernel, op, job, room, span_of(job, i));
      softmax(kernel, job, room);
      blend<Cache>(kernel, op, job, room, span_of(job, 0), room.sums);
      for (size_t i = 1; i < spans; i++) {
        blend<Cache>(kernel, op, job, room, span_of(job, i), one);
        add(room, one);
      }
      finish(op, job, room);
    }
  });
}

}  // namespace

size_t attention_scratch(const Attention& op) {
  const size_t jobs = jobs_of(op);
  return (jobs < kFewJobs ? jobs : kWorkers) * Room::bytes(op);
}

template <typename Cache>
static void attend(const Kernel& kernel, const Attention& op, void* scratch, const Pool& pool) {
  append<Cache>(op, pool);
  if (jobs_of(op) < kFewJobs)
    few<Cache>(kernel, op, scratch, pool);
  else
    many<Cache>(kernel, op, scratch, pool);
}

void attention(const Kernel& kernel, const Attention& op, void* scratch, const Pool& pool) {
  keep_past(op, op.past_key, op.present_key, pool);
  keep_past(op, op.past_value, op.present_value, pool);
  if (op.half)
    attend<uint16_t>(kernel, op, scratch, pool);
  else
    attend<float>(kernel, op, scratch, pool);
}

}  // namespace bitnet
