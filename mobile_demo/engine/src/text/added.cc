#include "text/added.h"

#include <algorithm>

#include "base/utf8.h"
#include "text/unicode.h"

namespace edge {

Status AddedTokens::add(const Added& token, const Vocabulary& vocabulary) {
  if (token.content.empty()) return {};
  const bool was_special = special_.count(token.content);
  if (token.special && !was_special) {
    order_[0].push_back(token);
    special_.insert(token.content);
  }
  int32_t id = id_of(token.content);
  if (id < 0) id = vocabulary.id_of(token.content);
  const auto found = by_id_.find(id);
  if (found != by_id_.end() && found->second == token) return {};
  if (id < 0) {
    id = vocabulary.size();
    if (!by_id_.empty()) id = std::max(id, by_id_.rbegin()->first + 1);
  }
  if (by_id_.size() >= kMaxTokens || id >= Vocabulary::kMaxIds) {
    return fail(BITNET_EDGE_ARTIFACT,
                "the tokenizer has more than %zu added tokens, expected fewer", kMaxTokens);
  }
  ids_[token.content] = id;
  by_id_[id] = token;
  if (!token.special && !was_special) order_[1].push_back(token);
  return {};
}

void AddedTokens::index(bool has_nfc) {
  for (const std::vector<Added>& tokens : order_) {
    for (const Added& token : tokens) {
      std::string content = token.normalized && has_nfc ? nfc(token.content) : token.content;
      auto& bucket = first_bytes_[token.normalized][static_cast<uint8_t>(content[0])];
      bucket.push_back({std::move(content), id_of(token.content), 0});
    }
  }
  for (auto& buckets : first_bytes_) {
    for (auto& bucket : buckets) {
      for (size_t i = 0; i < bucket.size(); i++) bucket[i].place = i;
      std::sort(bucket.begin(), bucket.end(), [](const Text& a, const Text& b) {
        return a.content.size() != b.content.size() ? a.content.size() > b.content.size()
                                                    : a.place < b.place;
      });
    }
  }
}

const Added* AddedTokens::get(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second;
}

int32_t AddedTokens::id_of(std::string_view content) const {
  const auto found = ids_.find(content);
  return found == ids_.end() ? -1 : found->second;
}

const AddedTokens::Text* AddedTokens::longest_at(std::string_view text, size_t place,
                                                 bool normalized) const {
  for (const Text& found : first_bytes_[normalized][static_cast<uint8_t>(text[place])]) {
    if (text.substr(place, found.content.size()) == found.content) return &found;
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
    const Text* found = longest_at(text, place, normalized);
    if (!found) {
      place++;
      continue;
    }
    size_t begin = place, end = place + found->content.size();
    place = end;
    const Added& token = *get(found->id);
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
    parts.push_back({begin, end, found->id});
    done = end;
  }
  if (done < text.size()) parts.push_back({done, text.size(), -1});
  return parts;
}

}  // namespace edge
