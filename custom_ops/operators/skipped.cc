#include "operators/skipped.h"

#include <atomic>

namespace bitnet {

static std::atomic<uint64_t> rows(0), columns(0), head(0);

void add_skipped_rows(uint64_t bytes) { rows.fetch_add(bytes, std::memory_order_relaxed); }
void add_skipped_columns(uint64_t bytes) { columns.fetch_add(bytes, std::memory_order_relaxed); }
void add_skipped_head(uint64_t bytes) { head.fetch_add(bytes, std::memory_order_relaxed); }

uint64_t skipped_rows() { return rows.load(std::memory_order_relaxed); }
uint64_t skipped_columns() { return columns.load(std::memory_order_relaxed); }
uint64_t skipped_head() { return head.load(std::memory_order_relaxed); }

}  // namespace bitnet
