#include "text/added.h"

#include <algorithm>

#include "base/utf8.h"
#include "unicode/unicode.h"

namespace edge {

Status AddedTokens::add(const Added& token, const Vocabulary& vocabulary) {
  if (token.content.empty()) return {};
  int32_t id = id_of(token.content);
  if (id < 0) id = vocabulary.id_of(token.content);
  if (id < 0) {
    id = vocabulary.size();
    if (!by_id_.empty()) id = std::max(id, by_id_.rbegin()->first + 1);
  }
  if (by_id_.size() >= kMaxTokens || id >= Vocabulary::kMaxIds) {
    return fail(BITNET_EDGE_ARTIFACT,
                "the tokenizer has more than %zu added tokens, expected fewer", kMaxTokens);
  }
  if (token.special) special_.insert(token.content);
  ids_[token.content] = id;
  by_id_[id] = token;
  return {};
}

Status AddedTokens::index(bool normalizes) {
  for (const auto& [id, token] : by_id_) {
    if (normalizes && nfc(token.content) != token.content) {
      return fail(BITNET_EDGE_UNSUPPORTED,
                  "the added token %s is not in the normalization form C, which this engine does "
                  "not know, expected it to be",
                  quoted(token.content).c_str());
    }
    first_bytes_[token.normalized][static_cast<uint8_t>(token.content[0])].push_back(id);
  }
  for (auto& buckets : first_bytes_) {
    for (auto& bucket : buckets) {
      std::sort(bucket.begin(), bucket.end(), [&](int32_t a, int32_t b) {
        return get(a)->content.size() > get(b)->content.size();
      });
    }
  }
  return {};
}

const Added* AddedTokens::get(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second;
}

int32_t AddedTokens::id_of(std::string_view content) const {
  const auto found = ids_.find(content);
  return found == ids_.end() ? -1 : found->second;
}

int32_t AddedTokens::longest_at(std::string_view text, size_t place, bool normalized) const {
  for (const int32_t id : first_bytes_[normalized][static_cast<uint8_t>(text[place])]) {
    const std::string& content = get(id)->content;
    if (text.substr(place, content.size()) == content) return id;
  }
  return -1;
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
    const int32_t id = longest_at(text, place, normalized);
    if (id < 0) {
      place++;
      continue;
    }
    const Added& token = *get(id);
    size_t begin = place, end = place + token.content.size();
    place = end;
    if (!special && special_.count(token.content)) continue;
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
    parts.push_back({begin, end, id});
    done = end;
  }
  if (done < text.size()) parts.push_back({done, text.size(), -1});
  return parts;
}

}  // namespace edge
