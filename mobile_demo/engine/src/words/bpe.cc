#include "words/bpe.h"

#include <algorithm>

#include "base/utf8.h"

namespace edge {

static uint64_t pair_of(int32_t a, int32_t b) {
  return uint64_t{static_cast<uint32_t>(a)} << 32 | static_cast<uint32_t>(b);
}

static size_t slot_of(uint64_t pair, size_t room) {
  const uint64_t hash = pair * 0x9e3779b97f4a7c15;
  return static_cast<size_t>(hash ^ hash >> 32) & (room - 1);
}

const Bpe::Merge* Bpe::merge_of(int32_t a, int32_t b) const {
  const uint64_t pair = pair_of(a, b);
  size_t slot = slot_of(pair, merges_.size());
  for (; merges_[slot].id >= 0; slot = (slot + 1) & (merges_.size() - 1)) {
    if (merges_[slot].pair == pair) return &merges_[slot];
  }
  return nullptr;
}

namespace {

// Where the part that begins at a place of the word ends, and its neighbours.
struct Part {
  int32_t id;  // -1: merged into the part before
  uint32_t before, after;
};

constexpr uint32_t kNobody = 0xffffffff;

struct Candidate {
  uint32_t rank, place;
  int32_t id;
  // The heap's top is the merge of the least rank, then the leftmost one.
  bool operator<(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : place > other.place;
  }
};

}  // namespace

void Bpe::encode(std::string_view word, std::vector<int32_t>* ids) const {
  if (whole_words_) {
    const int32_t whole = vocabulary_.id_of(characters_of_bytes(word));
    if (whole >= 0) {
      ids->push_back(whole);
      return;
    }
  }
  std::vector<Part> parts;
  parts.reserve(word.size());
  for (const char byte : word) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(byte)];
    if (id < 0) continue;  // tokenizers leaves out what it does not know
    const uint32_t place = static_cast<uint32_t>(parts.size());
    parts.push_back({id, place ? place - 1 : kNobody, place + 1});
  }
  if (parts.empty()) return;
  parts.back().after = kNobody;
  std::vector<Candidate> heap;
  const auto offer = [&](uint32_t place) {
    const Part& part = parts[place];
    if (part.after == kNobody) return;
    if (const Merge* merge = merge_of(part.id, parts[part.after].id)) {
      heap.push_back({merge->rank, place, merge->id});
      std::push_heap(heap.begin(), heap.end());
    }
  };
  for (uint32_t i = 0; i < parts.size(); i++) offer(i);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Candidate best = heap.back();
    heap.pop_back();
    Part& left = parts[best.place];
    if (left.id < 0 || left.after == kNobody) continue;
    Part& right = parts[left.after];
    const Merge* merge = merge_of(left.id, right.id);
    if (!merge || merge->id != best.id) continue;  // one of the two was merged since
    left.id = best.id;
    right.id = -1;
    left.after = right.after;
    if (left.after != kNobody) parts[left.after].before = best.place;
    if (left.before != kNobody) offer(left.before);
    offer(best.place);
  }
  for (uint32_t i = 0; i != kNobody; i = parts[i].after) ids->push_back(parts[i].id);
}

Status Bpe::read(const Value& model, bool plain) {
  const Value* vocab = model.get("vocab");
  const Value* merges = model.get("merges");
  if (!vocab || !vocab->is_object() || !merges || !merges->is_array()) {
    return fail(BITNET_EDGE_ARTIFACT,
                "the model of tokenizer.json has no vocab or no merges, expected an object and a "
                "list");
  }
  Status status = plain ? Status() : read_options(model);
  if (status.ok()) status = vocabulary_.read(*vocab);
  if (status.ok()) status = read_bytes(model, plain);
  if (status.ok()) status = read_merges(*merges);
  return status;
}

Status Bpe::read_options(const Value& model) {
  for (Value::Iterator option = model.begin(); option != model.end(); ++option) {
    const std::string_view key = option.key();
    if (key == "type" || key == "vocab" || key == "merges") continue;
    if (key == "dropout" || key == "unk_token" || key == "byte_fallback" || key == "fuse_unk") {
      continue;  // dropout is for training; the others are for bytes that are no token
    }
    if (key == "ignore_merges" && option->is_bool()) {
      whole_words_ = option->boolean();
      continue;
    }
    const bool affix = key == "continuing_subword_prefix" || key == "end_of_word_suffix";
    if (affix && (option->is_null() || (option->is_string() && option->text().empty()))) continue;
    return fail(BITNET_EDGE_UNSUPPORTED,
                "the model of tokenizer.json has %s, which this engine does not know, expected a "
                "byte-level BPE",
                quoted(key).c_str());
  }
  return {};
}

Status Bpe::read_bytes(const Value& model, bool plain) {
  bool all = true;
  for (int byte = 0; byte < 256; byte++) {
    byte_ids_[byte] =
        vocabulary_.id_of(characters_of_bytes(std::string(1, static_cast<char>(byte))));
    all = all && byte_ids_[byte] >= 0;
  }
  if (all || plain) return {};
  const Value* unknown = model.get("unk_token");
  const Value* fallback = model.get("byte_fallback");
  if ((unknown && !unknown->is_null()) || (fallback && fallback->boolean())) {
    return fail(
        BITNET_EDGE_UNSUPPORTED,
        "the model of tokenizer.json has an unk_token or byte_fallback, and not a token for "
        "each byte, expected all 256 of them");
  }
  return {};
}

Status Bpe::read_merges(const Value& merges) {
  size_t room = 16;
  while (room < 2 * merges.size()) room *= 2;
  merges_.assign(room, Merge());
  uint32_t rank = 0;
  std::string both;
  for (const Value& merge : merges) {
    std::string_view a, b;
    if (merge.is_string()) {
      const size_t blank = merge.text().find(' ');
      a = merge.text().substr(0, blank);
      b = blank == std::string_view::npos ? a.substr(a.size()) : merge.text().substr(blank + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge.begin()->is_string()) {
      Value::Iterator item = merge.begin();
      a = item->text();
      b = (++item)->text();
    }
    both.assign(a).append(b);
    const int32_t left = vocabulary_.id_of(a), right = vocabulary_.id_of(b);
    const int32_t id = vocabulary_.id_of(both);
    if (a.empty() || b.empty() || left < 0 || right < 0 || id < 0) {
      return fail(BITNET_EDGE_ARTIFACT,
                  "merge %u of tokenizer.json is of %s and %s, expected two tokens that are one "
                  "together",
                  rank, quoted(a).c_str(), quoted(b).c_str());
    }
    const uint64_t pair = pair_of(left, right);
    size_t slot = slot_of(pair, room);
    while (merges_[slot].id >= 0 && merges_[slot].pair != pair) slot = (slot + 1) & (room - 1);
    merges_[slot] = {pair, rank++, id};  // of two, the later one counts
  }
  return {};
}

}  // namespace edge
