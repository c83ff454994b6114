// Ids in, logits out; a session owns its cache and the ids that are in it.
#pragma once

#include <stdint.h>

#include <atomic>
#include <memory>
#include <vector>

#include "run/cache.h"
#include "run/manifest.h"
#include "run/onnxruntime.h"

namespace edge {

class Session {
 public:
  static Status open(const Manifest& manifest, const RuntimeOptions& options,
                     std::unique_ptr<Session>* session);

  int32_t vocab_size() const { return vocab_size_; }
  int32_t context_length() const { return context_length_; }
  const Runtime& runtime() const { return *runtime_; }

  // The ids whose keys and values the cache holds.
  const std::vector<int32_t>& ids() const { return ids_; }
  void truncate(size_t length) { ids_.resize(length); }

  // Appends ids, which are of the vocabulary and have room. After an error, or where `stop` turned
  // true, the cache may hold some of them. *logits, of the last id, may be written to and live
  // until the next call.
  Status feed(const int32_t* ids, size_t count, const std::atomic<bool>& stop, float** logits);

 private:
  Session(const Manifest& manifest, std::unique_ptr<Runtime> runtime);
  Status prefill(const int32_t* ids, int32_t count, bool last);
  Status decode(int32_t id);
  Status bind_cache(Binding* binding);
  Status bind_mask(Binding* binding, int64_t positions);

  const int32_t vocab_size_, context_length_;
  // ONNX Runtime's own products round by how many rows they have, so its heads get one row.
  const bool together_;
  std::unique_ptr<Runtime> runtime_;
  Cache cache_;
  std::unique_ptr<Binding> step_;  // of decode, while the cache stays where it is
  uint64_t step_place_ = 0;
  std::vector<int32_t> ids_;
  std::vector<int64_t> fed_, mask_;
  const std::unique_ptr<float, void (*)(void*)> logits_;
  int64_t kept_ = 1;
};

}  // namespace edge
