#include "attention.h"

#include <math.h>
#include <string.h>

#include "sizes.h"

namespace bitnet {
namespace {

constexpr size_t kFewJobs = 16;     // fewer are split further, so that all threads have work
constexpr size_t kWorkers = 32;     // tasks that share many jobs
constexpr size_t kKeyParts = 4;     // of a job's positions
constexpr size_t kValueParts = 2;   // of a head's elements; each part needs the softmax again
constexpr size_t kRotateRows = 16;  // new positions of one task
constexpr size_t kBlock = 16;       // positions whose values stay in the first cache for all heads

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

// Scratch of one job. The weights and sums are those of kAttendRows heads at a time.
struct Room {
  size_t stride, width, group;
  double* q;        // [group, width]: d, padded
  double* sums;     // [kAttendRows, width]
  double* weights;  // [kValueParts, kAttendRows, stride]
  float* scores;    // [group, stride]
  static size_t bytes(const Attention& op) {
    const size_t group = op.heads / op.kv_heads, stride = longest(op);
    const size_t doubles = (group + kAttendRows) * padded(op.d, kPadHead) +
                           kValueParts * kAttendRows * stride;
    return padded(doubles * sizeof(double) + group * stride * sizeof(float), 64);
  }
};

Room room_of(const Attention& op, void* scratch, size_t index) {
  Room room = {};
  room.stride = longest(op);
  room.width = padded(op.d, kPadHead);
  room.group = op.heads / op.kv_heads;
  room.q = reinterpret_cast<double*>(static_cast<char*>(scratch) + index * Room::bytes(op));
  room.sums = room.q + room.group * room.width;
  room.weights = room.sums + kAttendRows * room.width;
  room.scores = reinterpret_cast<float*>(room.weights + kValueParts * kAttendRows * room.stride);
  return room;
}

// x, rotated by its position, one head.
template <typename Out>
void rotate(const Attention& op, size_t position, const float* x, Out* out) {
  const size_t half = op.d / 2;
  const float *cos = op.cos + position * half, *sin = op.sin + position * half;
  for (size_t i = 0; i < half; i++) {
    out[i] = x[i] * cos[i] - x[half + i] * sin[i];
    out[half + i] = x[half + i] * cos[i] + x[i] * sin[i];
  }
}

void keep_past(const Attention& op, const float* past, float* present, const Pool& pool) {
  if (past == present) return;
  parallel(pool, op.batch * op.kv_heads, [&](size_t head) {
    float* to = present + head * op.room * op.d;
    if (op.past) memcpy(to, past + head * op.past * op.d, op.past * op.d * sizeof(float));
    memset(to + op.past * op.d, 0, (op.room - op.past) * op.d * sizeof(float));
  });
}

void append(const Attention& op, const Pool& pool) {
  const size_t rows = op.batch * op.count;
  parallel(pool, parts(rows, kRotateRows), [&](size_t task) {
    for (size_t row = task * kRotateRows; row < smaller(rows, (task + 1) * kRotateRows); row++) {
      const size_t b = row / op.count, position = past_length(op, b) + row % op.count;
      for (size_t g = 0; g < op.kv_heads; g++) {
        const size_t from = (row * op.kv_heads + g) * op.d;
        const size_t to = ((b * op.kv_heads + g) * op.room + position) * op.d;
        rotate(op, position, op.key + from, op.present_key + to);
        memcpy(op.present_value + to, op.value + from, op.d * sizeof(float));
      }
    }
  });
}

void rotate_query(const Attention& op, const Job& job, const Room& room) {
  const size_t first = ((job.b * op.count + job.i) * op.kv_heads + job.g) * room.group;
  for (size_t h = 0; h < room.group; h++) {
    double* q = room.q + h * room.width;
    rotate(op, job.positions - 1, op.query + (first + h) * op.d, q);
    for (size_t i = op.d; i < room.width; i++) q[i] = 0;
  }
}

// The scores of positions begin to end.
void score(const Kernel& kernel, const Attention& op, const Job& job, const Room& room,
           size_t begin, size_t end) {
  const float root = sqrtf(static_cast<float>(op.d));
  const float* k = op.present_key + ((job.b * op.kv_heads + job.g) * op.room + begin) * op.d;
  for (size_t h = 0; h < room.group; h += kAttendRows) {
    kernel.attend_scores(smaller(kAttendRows, room.group - h), end - begin, op.d,
                         room.q + h * room.width, k, root, room.scores + h * room.stride + begin,
                         room.stride);
  }
}

// Elements begin to end of the result; begin is a multiple of kPadHead.
void blend(const Kernel& kernel, const Attention& op, const Job& job, const Room& room,
           double* weights, size_t begin, size_t end) {
  const float* v = op.present_value + (job.b * op.kv_heads + job.g) * op.room * op.d + begin;
  const size_t first = ((job.b * op.count + job.i) * op.kv_heads + job.g) * room.group;
  for (size_t h = 0; h < room.group; h += kAttendRows) {
    const size_t rows = smaller(kAttendRows, room.group - h);
    double* sums = room.sums + begin;
    double totals[kAttendRows];
    for (size_t r = 0; r < rows; r++) {
      totals[r] = kernel.attend_softmax(job.positions, room.scores + (h + r) * room.stride,
                                        weights + r * room.stride);
      memset(sums + r * room.width, 0, padded(end - begin, kPadHead) * sizeof(double));
    }
    for (size_t t = 0; t < job.positions; t += kBlock) {
      kernel.attend_values(rows, smaller(kBlock, job.positions - t), end - begin, op.d, weights + t,
                           room.stride, v + t * op.d, sums, room.width);
    }
    for (size_t r = 0; r < rows; r++) {
      float* y = op.y + (first + h + r) * op.d + begin;
      for (size_t i = 0; i < end - begin; i++) {
        y[i] = static_cast<float>(sums[r * room.width + i] / totals[r]);
      }
    }
  }
}

// Decode: the keys of a job are split by position, its values by element.
void few(const Kernel& kernel, const Attention& op, void* scratch, const Pool& pool) {
  const size_t jobs = jobs_of(op);
  for (size_t index = 0; index < jobs; index++) {
    rotate_query(op, job_of(op, index), room_of(op, scratch, index));
  }
  parallel(pool, jobs * kKeyParts, [&](size_t task) {
    const Job job = job_of(op, task / kKeyParts);
    const size_t part = padded(parts(job.positions, kKeyParts), 4);
    const size_t begin = smaller(task % kKeyParts * part, job.positions);
    const size_t end = smaller(begin + part, job.positions);
    if (begin < end) score(kernel, op, job, room_of(op, scratch, task / kKeyParts), begin, end);
  });
  parallel(pool, jobs * kValueParts, [&](size_t task) {
    const Room room = room_of(op, scratch, task / kValueParts);
    const size_t part = padded(parts(op.d, kValueParts), kPadHead), n = task % kValueParts;
    const size_t begin = smaller(n * part, op.d), end = smaller(begin + part, op.d);
    double* weights = room.weights + n * kAttendRows * room.stride;
    if (begin < end) {
      blend(kernel, op, job_of(op, task / kValueParts), room, weights, begin, end);
    }
  });
}

// Prefill: every task takes each kWorkers-th job, so that long and short ones are shared out.
void many(const Kernel& kernel, const Attention& op, void* scratch, const Pool& pool) {
  const size_t jobs = jobs_of(op);
  parallel(pool, kWorkers, [&](size_t worker) {
    const Room room = room_of(op, scratch, worker);
    for (size_t index = worker; index < jobs; index += kWorkers) {
      const Job job = job_of(op, index);
      rotate_query(op, job, room);
      score(kernel, op, job, room, 0, job.positions);
      blend(kernel, op, job, room, room.weights, 0, op.d);
    }
  });
}

}  // namespace

size_t attention_scratch(const Attention& op) {
  const size_t jobs = jobs_of(op);
  return (jobs < kFewJobs ? jobs : kWorkers) * Room::bytes(op);
}

void attention(const Kernel& kernel, const Attention& op, void* scratch, const Pool& pool) {
  keep_past(op, op.past_key, op.present_key, pool);
  keep_past(op, op.past_value, op.present_value, pool);
  append(op, pool);
  if (jobs_of(op) < kFewJobs)
    few(kernel, op, scratch, pool);
  else
    many(kernel, op, scratch, pool);
}

}  // namespace bitnet
