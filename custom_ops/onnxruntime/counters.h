// What the operators of some sessions count. The memory is reused and never freed, as a node may
// outlive the id of its counters.
#pragma once

#include "platform/count.h"

namespace bitnet {

constexpr size_t kMaxOperators = 32;

struct Counters {
  uint64_t id;                                                         // 0: not in use
  Count nodes;                                                         // how many nodes count here
  Count nanoseconds[kMaxOperators];                                    // in the order of kOperators
  Count skipped_rows, skipped_columns, skipped_head, skipped_experts;  // bytes of weights
  Counters* next;
};

// Null without memory.
Counters* new_counters();
void free_counters(uint64_t id);
// Null where the id is not in use.
Counters* find_counters(uint64_t id);

}  // namespace bitnet
