#include "operators/experts/experts.h"

#include <string.h>

#include "platform/sizes.h"

namespace bitnet {
namespace {

constexpr size_t kSlab = 512;     // tokens, and rows of experts, at a time: bounds the scratch
constexpr size_t kFewRows = 128;  // whose results are kept before they are added
constexpr size_t kWide = 32;      // a multiple of this many weight rows goes to a task
constexpr size_t kWorthBytes = 2 * kTaskBytes;  // of weights: each task starts at another address
constexpr size_t kTaskWork = 2u << 20;          // multiply-adds that are worth a task, some 20 us
constexpr size_t kPrepareWork = 16384;          // activations that are worth a task, some 10 us
constexpr size_t kAddWork = 65536;              // results whose sum is worth a task
static_assert(kWide * kExpertTall <= kExpertSums, "the narrowest task of the most rows fits");

// Rows of one expert, a part of a slab.
struct Segment {
  size_t expert, first, rows;
  size_t wide, task;  // weight rows of one task, and the first of the tasks
};

struct Room {
  Routing routing;
  ExpertRows x, sorted, inner;  // of tokens, and of rows of experts
  float* opened;                // [rows, inner]: silu(gate) * up
  float* ups;                   // [rows, inner]: what does not fit a stack
  float* results;               // [rows, k]
  Segment* segments;
  size_t bytes;
};

// Gives out aligned parts of the scratch.
struct Parts {
  uintptr_t begin, next;

  template <typename T>
  T* take(size_t count) {
    T* part = reinterpret_cast<T*>(next);
    next += padded(count * sizeof(T), 64);
    return part;
  }

  ExpertRows rows(const ExpertKind& kind, size_t m, size_t k) {
    const size_t stride = padded(k, kind.pad) * kind.item;
    return {k, stride, take<char>(m * stride), take<float>(m), take<int32_t>(m)};
  }
};

Room room_in(const Experts& op, void* scratch) {
  const size_t m = smaller(op.m, kSlab), all = m * op.chosen, rows = smaller(all, kSlab);
  const uintptr_t begin = reinterpret_cast<uintptr_t>(scratch);
  Parts parts = {begin, begin};
  Room room;
  room.routing = {.logits = parts.take<float>(m * op.experts),
                  .picks = parts.take<int32_t>(all),
                  .weights = parts.take<float>(all),
                  .starts = parts.take<int32_t>(op.experts + 1),
                  .tokens = parts.take<int32_t>(all),
                  .shares = parts.take<float>(all)};
  room.x = parts.rows(*op.kind, m, op.k);
  room.sorted = parts.rows(*op.kind, rows, op.k);
  room.inner = parts.rows(*op.kind, rows, op.inner);
  room.opened = parts.take<float>(rows * op.inner);
  room.ups = parts.take<float>(rows * op.inner);
  room.results = parts.take<float>(rows * op.k);
  room.segments = parts.take<Segment>(rows);
  room.bytes = parts.next - begin;
  return room;
}

ExpertRows from_row(const ExpertRows& rows, size_t i) {
  return {rows.k, rows.stride, rows.q + i * rows.stride, rows.scales + i, rows.sums + i};
}

void prepare(const Kernels& kernels, const ExpertKind& kind, const float* x, size_t m,
             const ExpertRows& rows, const Pool& pool) {
  const size_t each = kPrepareWork / rows.k + 1, wide = padded(rows.k, kind.pad);
  parallel(pool, parts(m, each), [&](size_t task) {
    for (size_t i = task * each; i < smaller(m, (task + 1) * each); i++) {
      kind.prepare(kernels, x + i * rows.k, wide, i, rows);
    }
  });
}

// The rows of x that `tokens` names.
void gather(const ExpertRows& x, const int32_t* tokens, size_t count, const ExpertRows& to,
            const Pool& pool) {
  const size_t each = kTaskBytes / x.stride + 1;
  parallel(pool, parts(count, each), [&](size_t task) {
    for (size_t i = task * each; i < smaller(count, (task + 1) * each); i++) {
      const size_t token = static_cast<size_t>(tokens[i]);
      memcpy(to.q + i * to.stride, x.q + token * x.stride, x.stride);
      to.scales[i] = x.scales[token];
      to.sums[i] = x.sums[token];
    }
  });
}

// How many of `n` weight rows a task takes: at most kExpertSums results of `most` rows at a time,
// and no more than kWorthBytes or kTaskWork, so that all tasks have about one size.
size_t wide_for(size_t n, size_t most, size_t bytes, size_t work) {
  const size_t fits = kExpertSums / most / kWide * kWide;
  const size_t worth = smaller(kWorthBytes / bytes, kTaskWork / work) / kWide * kWide;
  const size_t wide = worth < kWide ? kWide : smaller(worth, fits);
  return padded(parts(n, parts(n, wide)), kWide);
}

// Whether the kernel wants more weight rows at a time than a stack has sums for.
bool wants_many(const Kernels& kernels, const Experts& op, size_t rows) {
  return op.kind == &kTernaryExpert && rows > kFewActivations && kernels.gemm_rows > kTileN;
}

size_t many_for(const Kernels& kernels, size_t n) {
  return padded(parts(n, parts(n, kernels.gemm_rows)), 2 * kTileN);
}

// The rows of the slab from `begin` on: as many whole experts as fit. No expert has more rows than
// there are tokens.
size_t slab_from(const Experts& op, const Routing& routing, size_t begin) {
  size_t e = op.experts;
  while (static_cast<size_t>(routing.starts[e]) > begin + kSlab) e--;
  return static_cast<size_t>(routing.starts[e]) - begin;
}

// Splits a slab into segments; returns how many.
size_t segments_of(const Kernels& kernels, const Experts& op, const Routing& routing, size_t begin,
                   size_t count, Segment* segments) {
  size_t made = 0, task = 0, row = begin;
  const size_t bytes = 2 * op.kind->row_bytes(op.k);
  for (size_t e = 0; e < op.experts && row < begin + count; e++) {
    const size_t end = smaller(static_cast<size_t>(routing.starts[e + 1]), begin + count);
    while (row < end) {
      const size_t rows = smaller(end - row, kExpertTall);
      const size_t wide = wants_many(kernels, op, rows)
                              ? many_for(kernels, op.inner)
                              : wide_for(op.inner, rows, bytes, 2 * rows * op.k);
      segments[made++] = {e, row - begin, rows, wide, task};
      task += parts(op.inner, wide);
      row += rows;
    }
  }
  return made;
}

size_t most_rows(const Segment* segments, size_t count) {
  size_t most = 0;
  for (size_t s = 0; s < count; s++) most = larger(most, segments[s].rows);
  return most;
}

// The scales of the weights from row n0 on of a part of n rows; null for weights that have none.
const uint8_t* scales_of(const ExpertKind& kind, const uint8_t* scales, size_t part, size_t n,
                         size_t n0) {
  return !scales ? nullptr : scales + (kind.row_scales ? part * n + n0 : part) * sizeof(float);
}

// A NaN stays one.
void limit_gates(float limit, size_t count, float* gate, float* up) {
  for (size_t i = 0; i < count; i++) {
    gate[i] = gate[i] > limit ? limit : gate[i];
    up[i] = up[i] > limit ? limit : up[i] < -limit ? -limit : up[i];
  }
}

// Writes a task's part of silu(gate) * up.
void open_gates(const Kernels& kernels, const Experts& op, const Room& room, const Segment& s,
                size_t n0) {
  float own[kExpertSums], *up = own;
  const size_t count = smaller(s.wide, op.inner - n0), row_bytes = op.kind->row_bytes(op.k);
  const uint8_t* w = op.gate_up + (2 * s.expert * op.inner + n0) * row_bytes;
  const ExpertRows rows = from_row(room.sorted, s.first);
  const bool fits = s.rows * count <= kExpertSums;
  if (!fits) up = room.ups + s.first * op.inner + n0;
  const size_t stride = fits ? count : op.inner;
  float* gate = room.opened + s.first * op.inner + n0;
  op.kind->multiply(kernels, s.rows, count, rows, w,
                    scales_of(*op.kind, op.gate_up_scale, 2 * s.expert, op.inner, n0), gate,
                    op.inner);
  op.kind->multiply(kernels, s.rows, count, rows, w + op.inner * row_bytes,
                    scales_of(*op.kind, op.gate_up_scale, 2 * s.expert + 1, op.inner, n0), up,
                    stride);
  for (size_t i = 0; i < s.rows; i++, up += stride, gate += op.inner) {
    if (op.limit > 0) limit_gates(op.limit, count, gate, up);
    kernels.silu(count, up, gate);
  }
}

// The results n0 to n0 + count - 1 of a segment, before their shares.
void multiply_down(const Kernels& kernels, const Experts& op, const Room& room, const Segment& s,
                   size_t n0, size_t count, float* results, size_t stride) {
  const uint8_t* w = op.down + (s.expert * op.k + n0) * op.kind->row_bytes(op.inner);
  op.kind->multiply(kernels, s.rows, count, from_row(room.inner, s.first), w,
                    scales_of(*op.kind, op.down_scale, s.expert, op.k, n0), results, stride);
}

// Adds results of rows of experts, times their shares, to those of their tokens.
void add_rows(const Kernels& kernels, const Experts& op, const Routing& routing, size_t first,
              size_t rows, size_t n0, size_t count, const float* results, size_t stride, float* y) {
  for (size_t i = first; i < first + rows; i++, results += stride) {
    const size_t token = static_cast<size_t>(routing.tokens[i]);
    kernels.add_scaled(count, results, routing.shares[i], y + token * op.k + n0);
  }
}

// Few rows, or wide parts of many: a task has a part of one expert. The results are added when all
// are there.
void down_few(const Kernels& kernels, const Experts& op, const Room& room, size_t made,
              size_t begin, size_t count, float* y, const Pool& pool) {
  const size_t most = most_rows(room.segments, made);
  const size_t wide = wants_many(kernels, op, most)
                          ? many_for(kernels, op.k)
                          : wide_for(op.k, most, op.kind->row_bytes(op.inner), most * op.inner);
  const size_t across = parts(op.k, wide);
  parallel(pool, made * across, [&](size_t task) {
    const Segment& s = room.segments[task / across];
    const size_t n0 = task % across * wide;
    multiply_down(kernels, op, room, s, n0, smaller(wide, op.k - n0),
                  room.results + s.first * op.k + n0, op.k);
  });
  const size_t each = padded(parts(op.k, parts(count * op.k, kAddWork)), kWide);
  parallel(pool, parts(op.k, each), [&](size_t task) {
    const size_t n0 = task * each;
    add_rows(kernels, op, room.routing, begin, count, n0, smaller(each, op.k - n0),
             room.results + n0, op.k, y);
  });
}

// Many rows: a task adds its part of the results while it has them.
void down_many(const Kernels& kernels, const Experts& op, const Room& room, size_t made,
               size_t begin, size_t count, float* y, const Pool& pool) {
  const size_t wide = wide_for(op.k, most_rows(room.segments, made), op.kind->row_bytes(op.inner),
                               count * op.inner);
  parallel(pool, parts(op.k, wide), [&](size_t task) {
    float results[kExpertSums];
    const size_t n0 = task * wide, here = smaller(wide, op.k - n0);
    for (size_t i = 0; i < made; i++) {
      const Segment& s = room.segments[i];
      multiply_down(kernels, op, room, s, n0, here, results, here);
      add_rows(kernels, op, room.routing, begin + s.first, s.rows, n0, here, results, here, y);
    }
  });
}

// The rows `begin` to begin + count - 1 of the experts; y of the slab's first token.
void slab(const Kernels& kernels, const Experts& op, const Room& room, size_t begin, size_t count,
          float* y, const Pool& pool) {
  Segment* segments = room.segments;
  const size_t made = segments_of(kernels, op, room.routing, begin, count, segments);
  gather(room.x, room.routing.tokens + begin, count, room.sorted, pool);
  const Segment& last = segments[made - 1];
  parallel(pool, last.task + parts(op.inner, last.wide), [&](size_t task) {
    size_t s = made - 1;
    while (segments[s].task > task) s--;
    open_gates(kernels, op, room, segments[s], (task - segments[s].task) * segments[s].wide);
  });
  prepare(kernels, *op.kind, room.opened, count, room.inner, pool);
  const bool kept = count <= kFewRows || wants_many(kernels, op, most_rows(segments, made));
  (kept ? down_few : down_many)(kernels, op, room, made, begin, count, y, pool);
}

}  // namespace

size_t experts_scratch(const Experts& op) { return room_in(op, nullptr).bytes; }

void experts(const Kernels& kernels, const Experts& op, void* scratch, const Pool& pool) {
  const Room room = room_in(op, scratch);
  const Routing& routing = room.routing;
  bool used[kMaxExperts] = {false};
  for (size_t first = 0; first < op.m; first += kSlab) {
    const size_t m = smaller(kSlab, op.m - first);
    const Router router = {.m = m,
                           .k = op.k,
                           .experts = op.experts,
                           .chosen = op.chosen,
                           .x = op.x + first * op.k,
                           .w = op.router,
                           .y = op.y + first * op.k};
    route(kernels, router, routing, pool);
    prepare(kernels, *op.kind, router.x, m, room.x, pool);
    const size_t all = static_cast<size_t>(routing.starts[op.experts]);
    for (size_t begin = 0; begin < all;) {
      const size_t count = slab_from(op, routing, begin);
      slab(kernels, op, room, begin, count, router.y, pool);
      begin += count;
    }
    for (size_t e = 0; e < op.experts; e++) {
      used[e] = used[e] || routing.starts[e] < routing.starts[e + 1];
    }
  }
  size_t idle = 0;
  for (size_t e = 0; e < op.experts; e++) idle += !used[e];
  add_to(op.skipped,
         idle * (2 * op.inner * op.kind->row_bytes(op.k) + op.k * op.kind->row_bytes(op.inner)));
}

}  // namespace bitnet
