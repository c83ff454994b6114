#include "skipped.h"

#include <atomic>

namespace bitnet {

static std::atomic<uint64_t> total(0);

void add_skipped(uint64_t bytes) { total.fetch_add(bytes, std::memory_order_relaxed); }

uint64_t skipped_bytes() { return total.load(std::memory_order_relaxed); }

}  // namespace bitnet
