#include "operators/attention/jobs.h"

namespace bitnet {
namespace {

size_t room_bytes(const Attention& op, size_t heads, size_t slots, size_t longest) {
  const size_t doubles = heads * ((1 + slots) * padded(op.d, kPadHead) + longest + 1);
  const size_t counters = 3 * sizeof(std::atomic<size_t>);
  const size_t head = (longest + 1) * sizeof(float) + padded(op.d, kPadInt8) * sizeof(int16_t);
  return padded(doubles * sizeof(double) + counters + heads * head, 64);
}

size_t room_bytes(const Attention& op, const Plan& plan) {
  return room_bytes(op, plan.heads, plan.slots, plan.longest);
}

}  // namespace

Plan plan_of(const Attention& op) {
  Plan plan = {};
  for (size_t b = 0; b < op.batch; b++) {
    plan.longest = larger(plan.longest, past_length(op, b) + op.count);
  }
  plan.spans = parts(plan.longest, kSpan);
  if (op.window) plan.spans = smaller(plan.spans, parts(op.window, kSpan) + 1);
  const size_t group = op.heads / op.kv_heads;
  const size_t slots = smaller(larger(plan.spans, 2), kSlots);
  const bool fits = room_bytes(op, group, slots, plan.longest) <= kScratchLimit;
  plan.heads = fits ? group : smaller(group, kAttendRows);
  plan.pieces = parts(group, plan.heads);
  plan.jobs = op.batch * op.kv_heads * plan.pieces * op.count;
  plan.slots = 2;
  plan.rooms = kWorkers;
  plan.split = plan.jobs < kFewJobs || kWorkers * room_bytes(op, plan) > kScratchLimit;
  if (plan.split) {
    plan.slots = slots;
    const size_t room = larger(kScratchLimit / room_bytes(op, plan), 1);
    plan.rooms = smaller(room, smaller(plan.jobs, kFewJobs - 1));
  }
  return plan;
}

Job job_of(const Attention& op, const Plan& plan, size_t index) {
  const size_t i = index % op.count, piece = index / op.count % plan.pieces;
  const size_t pair = index / op.count / plan.pieces, b = pair / op.kv_heads;
  const size_t head = piece * plan.heads, positions = past_length(op, b) + i + 1;
  return {.b = b,
          .g = pair % op.kv_heads,
          .i = i,
          .head = head,
          .heads = smaller(plan.heads, op.heads / op.kv_heads - head),
          .first = op.window && op.window < positions ? positions - op.window : 0,
          .positions = positions};
}

Room room_of(const Attention& op, const Plan& plan, void* scratch, size_t index) {
  Room room = {};
  room.stride = plan.longest;
  room.width = padded(op.d, kPadHead);
  room.group = plan.heads;
  room.q = reinterpret_cast<double*>(static_cast<char*>(scratch) + index * room_bytes(op, plan));
  room.sums = room.q + room.group * room.width;
  room.weights = room.sums + plan.slots * room.group * room.width;
  room.totals = room.weights + room.group * room.stride;
  room.unscored = reinterpret_cast<std::atomic<size_t>*>(room.totals + room.group);
  room.unsummed = room.unscored + 1;
  room.joined = room.unsummed + 1;
  room.scores = reinterpret_cast<float*>(room.joined + 1);
  room.factors = room.scores + room.group * room.stride;
  room.codes = reinterpret_cast<int16_t*>(room.factors + room.group);
  return room;
}

size_t attention_scratch(const Attention& op) {
  const Plan plan = plan_of(op);
  return plan.rooms * room_bytes(op, plan);
}

}  // namespace bitnet
