#include "run/session.h"

#include <stdlib.h>

#include <algorithm>

#include "base/file.h"
#include "run/pages.h"

namespace edge {
namespace {

constexpr int32_t kChunk = 256;  // positions of a step; it bounds the memory of activations

}  // namespace

Session::Session(const Manifest& manifest, std::unique_ptr<Runtime> runtime)
    : vocab_size_(manifest.vocab_size),
      context_length_(manifest.context_length),
      together_(manifest.target == "native" && manifest.head != "float32"),
      runtime_(std::move(runtime)),
      cache_(manifest),
      fed_(kChunk),
      logits_(static_cast<float*>(malloc(sizeof(float) * manifest.vocab_size)), free) {}

Status Session::open(const Manifest& manifest, const RuntimeOptions& options,
                     std::unique_ptr<Session>* session) {
  RuntimeOptions given = options;
  given.custom_operators = manifest.target == "native";
  std::unique_ptr<Runtime> runtime;
  Status status = Runtime::open(join(manifest.folder, kModel), given, &runtime);
  if (status.ok()) status = check_graph(manifest, *runtime);
  if (!status.ok()) return status;
  ask_for_huge_pages(manifest.folder);
  std::unique_ptr<Session> opened(new Session(manifest, std::move(runtime)));
  if (!opened->logits_) return fail(BITNET_EDGE_MEMORY, "there is no memory for the logits");
  *session = std::move(opened);
  return {};
}

Status Session::feed(const int32_t* ids, size_t count, const std::atomic<bool>& stop,
                     float** logits) {
  *logits = logits_.get();
  const int32_t filled = static_cast<int32_t>(ids_.size());
  const int32_t total = filled + static_cast<int32_t>(count);
  if (Status status = cache_.reserve(total, filled); !status.ok()) return status;
  if (count == 1) return decode(ids[0]);
  for (size_t start = 0; start < count && !stop; start += kChunk) {
    const size_t size = std::min<size_t>(kChunk, count - start);
    Status status = prefill(ids + start, static_cast<int32_t>(size), start + size == count);
    if (!status.ok()) return status;
  }
  return {};
}

Status Session::bind_cache(Binding* binding) {
  for (const CacheBuffer& buffer : cache_.buffers()) {
    Status status = binding->input(buffer.past.c_str(), buffer.type, buffer.dims, buffer.data);
    if (status.ok()) {
      status = binding->output(buffer.present.c_str(), buffer.type, buffer.dims, buffer.data);
    }
    if (!status.ok()) return status;
  }
  return {};
}

Status Session::bind_mask(Binding* binding, int64_t positions) {
  // Longer than asked for, so that it moves seldom; a binding of an older step is bound anew.
  if (mask_.size() < static_cast<size_t>(positions)) {
    mask_.assign(static_cast<size_t>(std::min<int64_t>(2 * positions, context_length_)), 1);
  }
  return binding->input(kMask, Type::kInt64, {1, positions}, mask_.data());
}

// Without `last`, the logits are left out where that changes no number.
Status Session::prefill(const int32_t* ids, int32_t count, bool last) {
  std::copy(ids, ids + count, fed_.begin());
  const bool none = !last && together_;
  int64_t kept = none ? -count : 1;
  std::unique_ptr<Binding> binding;
  Status status = Binding::make(runtime_.get(), &binding);
  if (status.ok()) status = bind_cache(binding.get());
  if (status.ok()) status = bind_mask(binding.get(), static_cast<int64_t>(ids_.size()) + count);
  if (status.ok()) status = binding->input(kKept, Type::kInt64, {1}, &kept);
  if (status.ok()) status = binding->input(kIds, Type::kInt64, {1, count}, fed_.data());
  if (status.ok()) {
    status =
        binding->output(kLogits, Type::kFloat32, {1, none ? 0 : 1, vocab_size_}, logits_.get());
  }
  if (status.ok()) status = binding->run();
  if (status.ok()) ids_.insert(ids_.end(), ids, ids + count);
  return status;
}

Status Session::decode(int32_t id) {
  Status status;
  if (!step_ || step_place_ != cache_.place()) {
    std::unique_ptr<Binding> binding;
    status = Binding::make(runtime_.get(), &binding);
    if (status.ok()) status = bind_cache(binding.get());
    if (status.ok()) status = binding->input(kKept, Type::kInt64, {1}, &kept_);
    if (status.ok()) status = binding->input(kIds, Type::kInt64, {1, 1}, fed_.data());
    if (status.ok()) {
      status = binding->output(kLogits, Type::kFloat32, {1, 1, vocab_size_}, logits_.get());
    }
    if (!status.ok()) return status;
    step_ = std::move(binding);
    step_place_ = cache_.place();
  }
  fed_[0] = id;
  status = bind_mask(step_.get(), static_cast<int64_t>(ids_.size()) + 1);
  if (status.ok()) status = step_->run();
  if (status.ok()) ids_.push_back(id);
  return status;
}

}  // namespace edge
