// The loop: it continues ids, one at a time. Knows when to stop; knows no text.
#pragma once

#include <stdint.h>

#include <atomic>
#include <vector>

#include "run/sampling.h"
#include "run/session.h"

namespace edge {

struct LoopOptions {
  Sampling sampling;
  int32_t max_new_tokens = 1;
  std::vector<int32_t> eos_ids;
  bool goes_on = false;  // in a full context: forgets what is in the middle, see `shifted`
  size_t kept = 0;       // ids at the beginning that are never forgotten
};

struct LoopResult {
  std::vector<int32_t> ids;  // the new ones, with the eos that ended them
  bitnet_edge_finish finish = BITNET_EDGE_FINISH_LENGTH;
  int32_t reused_ids = 0;
  int32_t shifts = 0;
  double first_seconds = 0, decode_seconds = 0;
};

// Sees each id as it is chosen, and says how it goes on.
struct IdReader {
  enum Answer { kGoOn, kStopString, kStopped };
  Answer (*read)(void* context, int32_t id);
  void* context;
};

// Continues a prompt of the vocabulary that the context can hold. The beginning that it shares with
// the session's cache is not computed again.
Status generate(Session* session, const std::vector<int32_t>& prompt, const LoopOptions& options,
                const std::atomic<bool>& stop, const IdReader& reader, LoopResult* result);

// The ids that a full context of so many goes on with: the first `kept`, at least 4 and at most a
// quarter, and the newest half.
std::vector<int32_t> shifted(const std::vector<int32_t>& ids, size_t kept, size_t context);

}  // namespace edge
