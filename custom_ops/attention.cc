#include "attention.h"

#include <math.h>
#include <string.h>

#include "float16.h"
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

size_t item(const Attention& op) { return op.half ? sizeof(uint16_t) : sizeof(float); }

void put(float value, double* to) { *to = static_cast<double>(value); }
void put(float value, float* to) { *to = value; }
void put(float value, uint16_t* to) { *to = round_f16(value); }

// x, rotated by its position, one head.
template <typename Out>
void rotate(const Attention& op, size_t position, const float* x, Out* out) {
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
        const size_t from = (row * op.kv_heads + g) * op.d;
        const size_t to = ((b * op.kv_heads + g) * op.room + position) * op.d;
        rotate(op, position, op.key + from, keys + to);
        for (size_t i = 0; i < op.d; i++) put(op.value[from + i], values + to + i);
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

// Elements `first` on, `width` of them, of positions t to t + count of a job's cache in float32.
struct Rows {
  const float* data;
  size_t stride;
};

// kBlock positions or, of wide heads, as many as fit.
struct Block {
  alignas(64) float widened[kMaxHalfHead];
  static size_t positions(const Attention& op) {
    const size_t fit = kMaxHalfHead / op.d;
    return op.half ? smaller(kBlock, fit) : kBlock;
  }
};

Rows rows_at(const Kernel& kernel, const Attention& op, const Job& job, const void* cache, size_t t,
             size_t count, size_t first, size_t width, Block* block) {
  const size_t at = ((job.b * op.kv_heads + job.g) * op.room + t) * op.d + first;
  if (!op.half) return {static_cast<const float*>(cache) + at, op.d};
  kernel.widen_f16(count, width, op.d, static_cast<const uint16_t*>(cache) + at, block->widened);
  return {block->widened, width};
}

// The scores of positions begin to end.
void score(const Kernel& kernel, const Attention& op, const Job& job, const Room& room,
           size_t begin, size_t end) {
  const float root = sqrtf(static_cast<float>(op.d));
  const size_t step = Block::positions(op);
  Block block;
  for (size_t t = begin; t < end; t += step) {
    const size_t count = smaller(step, end - t);
    const Rows k = rows_at(kernel, op, job, op.present_key, t, count, 0, op.d, &block);
    for (size_t h = 0; h < room.group; h += kAttendRows) {
      kernel.attend_scores(smaller(kAttendRows, room.group - h), count, op.d,
                           room.q + h * room.width, k.data, root,
                           room.scores + h * room.stride + t, room.stride);
    }
  }
}

// Elements begin to end of the result; begin is a multiple of kPadHead.
void blend(const Kernel& kernel, const Attention& op, const Job& job, const Room& room,
           double* weights, size_t begin, size_t end) {
  const size_t first = ((job.b * op.count + job.i) * op.kv_heads + job.g) * room.group;
  const size_t step = Block::positions(op), width = end - begin;
  Block block;
  for (size_t h = 0; h < room.group; h += kAttendRows) {
    const size_t rows = smaller(kAttendRows, room.group - h);
    double* sums = room.sums + begin;
    double totals[kAttendRows];
    for (size_t r = 0; r < rows; r++) {
      totals[r] = kernel.attend_softmax(job.positions, room.scores + (h + r) * room.stride,
                                        weights + r * room.stride);
      memset(sums + r * room.width, 0, padded(width, kPadHead) * sizeof(double));
    }
    for (size_t t = 0; t < job.positions; t += step) {
      const size_t count = smaller(step, job.positions - t);
      const Rows v = rows_at(kernel, op, job, op.present_value, t, count, begin, width, &block);
      kernel.attend_values(rows, count, width, v.stride, weights + t, room.stride, v.data, sums,
                           room.width);
    }
    for (size_t r = 0; r < rows; r++) {
      float* y = op.y + (first + h + r) * op.d + begin;
      for (size_t i = 0; i < width; i++) {
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
  if (op.half)
    append<uint16_t>(op, pool);
  else
    append<float>(op, pool);
  if (jobs_of(op) < kFewJobs)
    few(kernel, op, scratch, pool);
  else
    many(kernel, op, scratch, pool);
}

}  // namespace bitnet
