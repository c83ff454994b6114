#include "onnxruntime/counters.h"

#include <stdlib.h>

namespace bitnet {
namespace {

std::atomic_flag lock = ATOMIC_FLAG_INIT;
Counters* all;  // all that were made
uint64_t last_id;

Counters* find(uint64_t id) {
  for (Counters* c = all; id && c; c = c->next) {
    if (c->id == id) return c;
  }
  return nullptr;
}

// Counters without an id, which no node counts into.
Counters* find_unused() {
  for (Counters* c = all; c; c = c->next) {
    if (c->id == 0 && read_count(c->nodes) == 0) return c;
  }
  return nullptr;
}

}  // namespace

Counters* new_counters() {
  const SpinLock locked(&lock);
  Counters* c = find_unused();
  if (!c) {
    c = static_cast<Counters*>(calloc(1, sizeof(Counters)));
    if (!c) return nullptr;
    c->next = all;
    all = c;
  }
  for (Count& count : c->nanoseconds) count.store(0);
  c->skipped_rows.store(0);
  c->skipped_columns.store(0);
  c->skipped_head.store(0);
  c->skipped_experts.store(0);
  c->id = ++last_id;
  return c;
}

void free_counters(uint64_t id) {
  const SpinLock locked(&lock);
  if (Counters* c = find(id)) c->id = 0;
}

Counters* find_counters(uint64_t id) {
  const SpinLock locked(&lock);
  return find(id);
}

}  // namespace bitnet
