#include "run/generate.h"

#include <time.h>

#include <algorithm>

namespace edge {
namespace {

constexpr size_t kSinks = 4;  // attention rests on the first positions, whatever they hold

double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Keeps what the cache shares with the ids, but for the last one, since the cache holds no logits.
size_t reuse(Session* session, const std::vector<int32_t>& ids) {
  const std::vector<int32_t>& held = session->ids();
  const size_t most = std::min(held.size(), ids.size() - 1);
  size_t common = 0;
  while (common < most && held[common] == ids[common]) common++;
  session->truncate(common);
  return common;
}

Status read_all(Session* session, const std::vector<int32_t>& ids, const std::atomic<bool>& stop,
                size_t* reused, float** logits) {
  *reused = reuse(session, ids);
  return session->feed(ids.data() + *reused, ids.size() - *reused, stop, logits);
}

}  // namespace

std::vector<int32_t> shifted(const std::vector<int32_t>& ids, size_t kept, size_t context) {
  const size_t first = std::min(std::max(kept, kSinks), context / 4);
  const size_t newest = std::max<size_t>(context / 2, 1);
  if (ids.size() < first + newest) return ids;
  std::vector<int32_t> found(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(first));
  found.insert(found.end(), ids.end() - static_cast<ptrdiff_t>(newest), ids.end());
  return found;
}

Status generate(Session* session, const std::vector<int32_t>& prompt, const LoopOptions& options,
                const std::atomic<bool>& stop, const IdReader& reader, LoopResult* result) {
  const size_t context = static_cast<size_t>(session->context_length());
  Sampler sampler(options.sampling, static_cast<size_t>(session->vocab_size()));
  sampler.observe(prompt.data(), prompt.size());
  const double start = now();
  double last = start;
  size_t reused = 0;
  float* logits = nullptr;
  Status status = read_all(session, prompt, stop, &reused, &logits);
  result->reused_ids = static_cast<int32_t>(reused);
  result->finish = BITNET_EDGE_FINISH_STOPPED;
  while (status.ok() && !stop) {
    int32_t id;
    status = sampler.sample(logits, &id);
    if (!status.ok()) break;
    result->ids.push_back(id);
    const double time = now();
    (result->ids.size() == 1 ? result->first_seconds : result->decode_seconds) += time - last;
    const IdReader::Answer answer = reader.read(reader.context, id);
    last = now();  // the reader's time is its own
    const bool eos =
        std::find(options.eos_ids.begin(), options.eos_ids.end(), id) != options.eos_ids.end();
    const bool full = session->ids().size() >= context;
    if (eos) {
      result->finish = BITNET_EDGE_FINISH_STOP;
    } else if (answer == IdReader::kStopString) {
      result->finish = BITNET_EDGE_FINISH_STOP_STRING;
    } else if (answer == IdReader::kStopped) {
      result->finish = BITNET_EDGE_FINISH_STOPPED;
    } else if (static_cast<int32_t>(result->ids.size()) >= options.max_new_tokens ||
               (full && !options.goes_on)) {
      result->finish = BITNET_EDGE_FINISH_LENGTH;
    } else if (full) {
      std::vector<int32_t> all = session->ids();
      all.push_back(id);
      result->shifts++;
      status = read_all(session, shifted(all, options.kept, context), stop, &reused, &logits);
      continue;
    } else {
      status = session->feed(&id, 1, stop, &logits);
      continue;
    }
    break;
  }
  return status;
}

}  // namespace edge
