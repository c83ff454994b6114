#include "text/added.h"

#include <algorithm>

#include "base/utf8.h"
#include "unicode/unicode.h"

namespace edge {

// Where a sorted list reaches a value.
template <typename Less>
static size_t reached(size_t count, const Less& less) {
  size_t low = 0;
  while (low < count) {
    const size_t middle = (low + count) / 2;
    if (less(middle)) {
      low = middle + 1;
    } else {
      count = middle;
    }
  }
  return low;
}

size_t AddedTokens::place_of(int32_t id) const {
  return reached(by_id_.size(), [&](size_t i) { return entries_[by_id_[i]].id < id; });
}

size_t AddedTokens::place_of(std::string_view content) const {
  return reached(by_content_.size(),
                 [&](size_t i) { return entries_[by_content_[i]].token.content < content; });
}

const AddedTokens::Entry* AddedTokens::entry_of(std::string_view content) const {
  const size_t i = place_of(content);
  if (i == by_content_.size() || entries_[by_content_[i]].token.content != content) return nullptr;
  return &entries_[by_content_[i]];
}

const Added* AddedTokens::get(int32_t id) const {
  const size_t i = place_of(id);
  return i < by_id_.size() && by_id(i).id == id ? &by_id(i).token : nullptr;
}

int32_t AddedTokens::id_of(std::string_view content) const {
  const Entry* entry = entry_of(content);
  return entry ? entry->id : -1;
}

bool AddedTokens::is_special(std::string_view content) const {
  const Entry* entry = entry_of(content);
  return entry && entry->once_special;
}

Status AddedTokens::add(const Added& token, const Vocabulary& vocabulary) {
  if (token.content.empty()) return {};
  if (const Entry* known = entry_of(token.content)) {
    Entry& entry = entries_[static_cast<size_t>(known - entries_.data())];
    entry.token = token;
    entry.once_special = entry.once_special || token.special;
    return {};
  }
  int32_t id = vocabulary.id_of(token.content);
  if (id < 0) {
    id = vocabulary.size();
    if (!by_id_.empty()) id = std::max(id, by_id(by_id_.size() - 1).id + 1);
  }
  if (entries_.size() >= kMaxTokens || id >= Vocabulary::kMaxIds) {
    return fail(BITNET_EDGE_ARTIFACT,
                "the tokenizer has more than %zu added tokens, expected fewer", kMaxTokens);
  }
  const uint32_t place = static_cast<uint32_t>(entries_.size());
  by_id_.insert(by_id_.begin() + static_cast<ptrdiff_t>(place_of(id)), place);
  by_content_.insert(by_content_.begin() + static_cast<ptrdiff_t>(place_of(token.content)), place);
  entries_.push_back({token, id, token.special});
  return {};
}

Status AddedTokens::index(const Nfc* nfc) {
  for (uint32_t i = 0; i < entries_.size(); i++) {
    const Added& token = entries_[i].token;
    if (nfc && nfc->normalized(token.content) != token.content) {
      return fail(BITNET_EDGE_UNSUPPORTED,
                  "the added token %s is not in the normalization form C, which this engine does "
                  "not know, expected it to be",
                  quoted(token.content).c_str());
    }
    auto& bucket = first_bytes_[token.normalized][static_cast<uint8_t>(token.content[0])];
    size_t place = 0;
    while (place < bucket.size() &&
           entries_[bucket[place]].token.content.size() >= token.content.size()) {
      place++;
    }
    bucket.insert(bucket.begin() + static_cast<ptrdiff_t>(place), i);
  }
  return {};
}

const AddedTokens::Entry* AddedTokens::longest_at(std::string_view text, size_t place,
                                                  bool normalized) const {
  for (const uint32_t i : first_bytes_[normalized][static_cast<uint8_t>(text[place])]) {
    const std::string& content = entries_[i].token.content;
    if (text.substr(place, content.size()) == content) return &entries_[i];
  }
  return nullptr;
}

// The class of the character that ends at a place, or that begins there.
static uint8_t class_before(std::string_view text, size_t end, size_t* start) {
  size_t place = end - 1;
  while (place > 0 && (text[place] & 0xc0) == 0x80) place--;
  *start = place;
  return class_of(static_cast<uint32_t>(next_code_point(text, &place)));
}
static uint8_t class_behind(std::string_view text, size_t begin, size_t* end) {
  *end = begin;
  return class_of(static_cast<uint32_t>(next_code_point(text, end)));
}

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text, bool normalized,
                                                  bool special) const {
  std::vector<Part> parts;
  size_t done = 0, other;
  for (size_t place = 0; place < text.size();) {
    const Entry* found = longest_at(text, place, normalized);
    if (!found) {
      place++;
      continue;
    }
    const Added& token = found->token;
    size_t begin = place, end = place + token.content.size();
    place = end;
    if (!special && found->once_special) continue;
    if (token.single_word) {
      if (begin > 0 && (class_before(text, begin, &other) & kWord)) continue;
      if (end < text.size() && (class_behind(text, end, &other) & kWord)) continue;
    }
    if (token.lstrip) {
      while (begin > 0 && (class_before(text, begin, &other) & kSpace)) begin = other;
      begin = std::max(begin, done);  // those that a token before took
    }
    if (token.rstrip) {
      while (end < text.size() && (class_behind(text, end, &other) & kSpace)) end = other;
    }
    if (done < begin) parts.push_back({done, begin, -1});
    parts.push_back({begin, end, found->id});
    done = end;
  }
  if (done < text.size()) parts.push_back({done, text.size(), -1});
  return parts;
}

}  // namespace edge
