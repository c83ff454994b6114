#include "operators/attention/attention.h"

#include <string.h>

#include <atomic>
#include <new>

#include "operators/attention/jobs.h"

namespace bitnet {
namespace {

constexpr size_t kRotateRows = 2;  // new positions of one task: they take some 7 us
constexpr size_t kJobs = 4;        // jobs that a thread takes at a time, if there are many
constexpr size_t kManyJobs = 80;   // fewer are taken one by one

// row: bytes of one position of one head
void keep_past(const Attention& op, const void* past, void* present, size_t row, const Pool& pool) {
  if (past == present) return;
  parallel(pool, op.batch * op.kv_heads, [&](size_t head) {
    const size_t kept = op.past * row, room = op.room * row;
    char* to = static_cast<char*>(present) + head * room;
    if (kept) memcpy(to, static_cast<const char*>(past) + head * kept, kept);
    memset(to + kept, 0, room - kept);
  });
}

void append(const Kernels& kernels, const Attention& op, const Steps& steps, const Pool& pool) {
  const size_t rows = op.batch * op.count;
  parallel(pool, parts(rows, kRotateRows), [&](size_t task) {
    for (size_t row = task * kRotateRows; row < smaller(rows, (task + 1) * kRotateRows); row++) {
      const size_t b = row / op.count, position = past_length(op, b) + row % op.count;
      for (size_t g = 0; g < op.kv_heads; g++) {
        const size_t from = row * op.kv_stride + g * op.d;
        steps.store(kernels, op, position, op.key + from, op.value + from,
                    (b * op.kv_heads + g) * op.room + position);
      }
    }
  });
}

void softmax(const Kernels& kernels, const Job& job, const Room& room) {
  for (size_t h = 0; h < room.group; h++) {
    const size_t from = h * room.stride + job.first;
    room.totals[h] =
        kernels.attend_softmax(job.positions - job.first, room.scores + from, room.weights + from);
  }
}

// Adds the slots from `begin` to `end` to the first one, in order.
void join(const Kernels& kernels, const Room& room, size_t begin, size_t end) {
  const size_t slot = room.group * room.width;
  for (size_t s = begin; s < end; s++) kernels.add_reals(slot, room.sums + s * slot, room.sums);
}

// The result: the sum of the first slot and those from `begin` to `end`, in order.
void finish(const Kernels& kernels, const Attention& op, const Job& job, const Room& room,
            size_t begin, size_t end) {
  join(kernels, room, begin, end);
  for (size_t h = 0; h < room.group; h++) {
    float* y = op.y + (head_of(op, job) + h) * op.d;
    kernels.divide_reals(op.d, room.sums + h * room.width, room.totals[h], y);
    if (op.cache == CacheType::kInt4) turn_back(op.d, y);
  }
}

// The weights of a job.
void weigh(const Kernels& kernels, const Attention& op, const Steps& steps, const Job& job,
           const Room& room) {
  steps.rotate_query(kernels, op, job, room);
  for (size_t i = 0; i < spans_of(job); i++) steps.score(kernels, op, job, room, span_of(job, i));
  softmax(kernels, job, room);
}

// The result of a job.
void blend(const Kernels& kernels, const Attention& op, const Steps& steps, const Job& job,
           const Room& room) {
  const size_t spans = spans_of(job), slot = room.group * room.width;
  memset(room.sums, 0, slot * sizeof *room.sums);
  if (spans == 1) steps.blend(kernels, op, job, room, span_of(job, 0), room.sums);
  for (size_t i = 0; i < spans && spans > 1; i++) {
    steps.accumulate(kernels, op, job, room, span_of(job, i), room.sums + slot);
  }
  finish(kernels, op, job, room, 0, 0);
}

// The task that scores the last span of a split job takes the softmax.
void score_span(const Kernels& kernels, const Attention& op, const Steps& steps, const Job& job,
                const Room& room, size_t index) {
  const Span span = span_of(job, index);
  if (span.begin >= span.end) return;
  steps.score(kernels, op, job, room, span);
  if (room.unscored->fetch_sub(1) == 1) softmax(kernels, job, room);
}

// The spans whose sums a split job keeps at a time. Earlier ones are in its first slot.
struct Window {
  size_t begin, end;
  size_t slot_of(size_t index) const { return begin ? index - begin + 1 : index; }
};

// The task that sums the last span of a window adds all sums, in the order of the spans. Tasks that
// are taken in this order, as those of the first threads mostly are, add theirs to the first slot.
void blend_span(const Kernels& kernels, const Attention& op, const Steps& steps, const Job& job,
                const Room& room, const Window& window, size_t index) {
  const Span span = span_of(job, index);
  if (span.begin >= span.end) return;
  const size_t slot = room.group * room.width;
  double* sums = room.sums + window.slot_of(index) * slot;
  const bool joins = room.joined->load() == index;
  if (joins && index > 0) {
    steps.accumulate(kernels, op, job, room, span, sums);
  } else {
    memset(sums, 0, slot * sizeof *sums);
    steps.blend(kernels, op, job, room, span, sums);
  }
  if (joins) room.joined->store(index + 1);
  if (room.unsummed->fetch_sub(1) > 1) return;
  const size_t spans = spans_of(job), end = smaller(window.end, spans);
  const size_t first = window.slot_of(room.joined->load()), last = window.slot_of(end);
  if (end == spans) return finish(kernels, op, job, room, first, last);
  join(kernels, room, first, last);
  room.joined->store(end);
}

// How many of a job's spans are in a window.
size_t spans_in(const Window& window, const Job& job) {
  const size_t end = smaller(window.end, spans_of(job));
  return end > window.begin ? end - window.begin : 0;
}

// Hands out tasks from both ends, so that a thread gets neighbours, and what it reads later is in
// its own caches: the first half of the workers, who are the first half of the threads, takes the
// first ones.
class Ends {
 public:
  explicit Ends(size_t count) : count_(count) {}

  // Whether all are left, and now are the caller's.
  bool take_all() {
    size_t none = 0;
    return taken_.compare_exchange_strong(none, count_);
  }

  // Whether one is left for the worker.
  bool take(size_t worker, size_t* task) {
    if (taken_.fetch_add(1) >= count_) return false;
    *task = worker < kWorkers / 2 ? first_.fetch_add(1) : count_ - 1 - last_.fetch_add(1);
    return true;
  }

 private:
  const size_t count_;
  std::atomic<size_t> taken_ = 0, first_ = 0, last_ = 0;
};

const int8_t* keys_of(const Attention& op, const Job& job) {
  return static_cast<const int8_t*>(op.present_key) + (first_of(op, job) + job.first) * op.d;
}

// Jobs that are done together, and their scratch. The first `whole` of them are one task each. The
// spans of the others are tasks, so that threads end together.
struct Few {
  Job jobs[kFewJobs];
  Room rooms[kFewJobs];
  size_t count, whole;
};

// Does the whole jobs and scores the others; returns how many are done. One last job is done whole,
// too, where the threads are so few that sharing it costs more than it gains: what is in the caches
// of one is read slowly by another, which counts where products are fast.
size_t score_few(const Kernels& kernels, const Attention& op, const Plan& plan, const Steps& steps,
                 Few* few, const Pool& pool) {
  const size_t alone = op.cache == CacheType::kInt8 ? 2 : 1;
  const size_t whole = few->whole, split = few->count - whole;
  std::atomic<size_t> taken = 0, end = whole;
  std::atomic<size_t> begun = 0;  // workers; while jobs are left, each has a thread of its own
  Ends pieces(split * plan.spans);
  parallel(pool, kWorkers, [&](size_t worker) {
    begun.fetch_add(1);
    for (size_t job = taken.fetch_add(1); job < end;) {
      Room& room = few->rooms[job];
      weigh(kernels, op, steps, few->jobs[job], room);
      const size_t next = taken.fetch_add(1);  // now, so that its keys are fetched meanwhile
      if (next == whole && split == 1 && begun <= alone && pieces.take_all()) end = few->count;
      if (op.cache == CacheType::kInt8 && next < end) room.next = keys_of(op, few->jobs[next]);
      blend(kernels, op, steps, few->jobs[job], room);
      job = next;
    }
    for (size_t piece; pieces.take(worker, &piece);) {
      const size_t job = whole + piece / plan.spans;
      score_span(kernels, op, steps, few->jobs[job], few->rooms[job], piece % plan.spans);
    }
  });
  return end;
}

// The results of the jobs that are not whole.
void blend_few(const Kernels& kernels, const Attention& op, const Plan& plan, const Steps& steps,
               const Few& few, const Pool& pool) {
  const size_t whole = few.whole, spans = plan.spans;
  for (Window window = {0, plan.slots}; window.begin < spans;
       window = {window.end, window.end + plan.slots - 1}) {
    const size_t width = smaller(window.end, spans) - window.begin;
    for (size_t job = whole; job < few.count; job++) {
      few.rooms[job].unsummed->store(spans_in(window, few.jobs[job]));
    }
    Ends pieces((few.count - whole) * width);
    parallel(pool, kWorkers, [&](size_t worker) {
      for (size_t piece; pieces.take(worker, &piece);) {
        const size_t job = whole + piece / width;
        blend_span(kernels, op, steps, few.jobs[job], few.rooms[job], window,
                   window.begin + piece % width);
      }
    });
  }
}

// `count` jobs from `first` on.
void few(const Kernels& kernels, const Attention& op, const Plan& plan, const Steps& steps,
         size_t first, size_t count, size_t whole, void* scratch, const Pool& pool) {
  Few few;  // of jobs and rooms the first ones are set below
  few.count = count, few.whole = whole;
  for (size_t index = 0; index < count; index++) {
    const Job& job = few.jobs[index] = job_of(op, plan, first + index);
    Room& room = few.rooms[index] = room_of(op, plan, scratch, index);
    room.group = job.heads;
    if (index < whole) continue;
    steps.rotate_query(kernels, op, job, room);
    new (room.unscored) std::atomic<size_t>(spans_of(job));
    new (room.unsummed) std::atomic<size_t>(0);
    new (room.joined) std::atomic<size_t>(0);
  }
  const size_t done = score_few(kernels, op, plan, steps, &few, pool);
  if (done < count) blend_few(kernels, op, plan, steps, few, pool);
}

// For decode, and for prompts whose scratch would be too large.
void split(const Kernels& kernels, const Attention& op, const Plan& plan, const Steps& steps,
           void* scratch, const Pool& pool) {
  const size_t jobs = plan.jobs;
  const bool at_once = jobs <= plan.rooms;
  size_t whole = at_once && jobs >= kSplitJobs ? jobs / 2 * 2 : 0;
  if (at_once && plan.spans < kLongSpans) whole = jobs;
  for (size_t first = 0; first < jobs; first += plan.rooms) {
    few(kernels, op, plan, steps, first, smaller(plan.rooms, jobs - first), whole, scratch, pool);
  }
}

void prefetch_query(const Attention& op, const Job& job) {
  const float* query = query_of(op, job);
  for (size_t i = 0; i < job.heads * op.d; i += 16) PREFETCH(query + i);
}

// For many rows: each task takes the next jobs until none is left: threads end together.
void many(const Kernels& kernels, const Attention& op, const Plan& plan, const Steps& steps,
          void* scratch, const Pool& pool) {
  std::atomic<size_t> next(0);
  const size_t each = plan.jobs < kManyJobs ? 1 : kJobs;
  parallel(pool, kWorkers, [&](size_t worker) {
    Room room = room_of(op, plan, scratch, worker);
    for (size_t first = next.fetch_add(each); first < plan.jobs; first = next.fetch_add(each)) {
      for (size_t index = first; index < smaller(first + each, plan.jobs); index++) {
        const Job job = job_of(op, plan, index);
        room.group = job.heads;
        if (index + 1 < plan.jobs) prefetch_query(op, job_of(op, plan, index + 1));
        weigh(kernels, op, steps, job, room);
        blend(kernels, op, steps, job, room);
      }
    }
  });
}

}  // namespace

static const Steps& steps_of(CacheType cache) {
  if (cache == CacheType::kFloat32) return kFloat32Steps;
  return cache == CacheType::kFloat16 ? kFloat16Steps : kInt8Steps;
}

size_t row_bytes(CacheType cache, size_t d) {
  if (cache == CacheType::kInt4) return parts(d, kCacheBlock) * kCacheBytes;
  return d * (cache == CacheType::kFloat32 ? 4 : cache == CacheType::kFloat16 ? 2 : 1);
}

void attention(const Kernels& kernels, const Attention& op, void* scratch, const Pool& pool) {
  const Steps& steps = steps_of(op.cache);
  const size_t row = row_bytes(op.cache, op.d);
  keep_past(op, op.past_key, op.present_key, row, pool);
  keep_past(op, op.past_value, op.present_value, row, pool);
  if (op.present_key_scale) {
    keep_past(op, op.past_key_scale, op.present_key_scale, sizeof(float), pool);
    keep_past(op, op.past_value_scale, op.present_value_scale, sizeof(float), pool);
  }
  append(kernels, op, steps, pool);
  const Plan plan = plan_of(op);
  (plan.split ? split : many)(kernels, op, plan, steps, scratch, pool);
}

}  // namespace bitnet
