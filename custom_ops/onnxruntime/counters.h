// What the operators of some sessions count. Their memory is used again, never given back: a node
// may outlive its counters' id.
#pragma once

#include "platform/count.h"

namespace bitnet {

constexpr size_t kMaxOperators = 32;

struct Counters {
  uint64_t id;                                        // 0: nobody asks for them
  Count nodes;                                        // that count here
  Count nanoseconds[kMaxOperators];                   // in kOperators' order
  Count skipped_rows, skipped_columns, skipped_head;  // bytes of weights
  Counters* next;
};

// Null without memory.
Counters* new_counters();
void free_counters(uint64_t id);
// Null where the id is not, or no longer, given out.
Counters* find_counters(uint64_t id);

}  // namespace bitnet
