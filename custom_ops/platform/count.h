// Counters that threads share.
#pragma once

#include <stdint.h>

#include <atomic>

namespace bitnet {

using Count = std::atomic<uint64_t>;

// Does nothing without a counter.
inline void add_to(Count* count, uint64_t amount) {
  if (count) count->fetch_add(amount, std::memory_order_relaxed);
}

inline uint64_t read_count(const Count& count) { return count.load(std::memory_order_relaxed); }

// Held for a few instructions.
class SpinLock {
 public:
  explicit SpinLock(std::atomic_flag* flag) : flag_(flag) {
    while (flag_->test_and_set(std::memory_order_acquire)) {
    }
  }
  ~SpinLock() { flag_->clear(std::memory_order_release); }
  SpinLock(const SpinLock&) = delete;

 private:
  std::atomic_flag* flag_;
};

}  // namespace bitnet
