// Tokens that are found in a text before it is cut into words: special ones and others.
#pragma once

#include <stdint.h>

#include <string>
#include <string_view>
#include <vector>

#include "words/vocabulary.h"

namespace edge {

class Nfc;

struct Added {
  std::string content;
  bool single_word = false;  // only where no letter or digit is beside it
  bool lstrip = false;       // it takes the blanks before it
  bool rstrip = false;       // and those behind it
  bool normalized = false;   // looked for in the normalized text
  bool special = false;

  bool operator==(const Added& other) const {
    return content == other.content && single_word == other.single_word && lstrip == other.lstrip &&
           rstrip == other.rstrip && normalized == other.normalized && special == other.special;
  }
};

class AddedTokens {
 public:
  static constexpr size_t kMaxTokens = 1 << 14;

  // Adds a token or changes its flags, as the tokenizers package does. A token that the vocabulary
  // lacks gets the next id.
  Status add(const Added& token, const Vocabulary& vocabulary);

  // To be called after the last token was added. nfc: what texts are brought into, or null.
  Status index(const Nfc* nfc);

  // The parts of a text: added tokens with their ids, and what is between them with -1. Special
  // ones are text unless `special`.
  struct Part {
    size_t begin, end;
    int32_t id;
  };
  std::vector<Part> split(std::string_view text, bool normalized, bool special) const;

  struct Entry {
    Added token;
    int32_t id;
    bool once_special;  // which it stays for the tokenizers package
  };
  const Added* get(int32_t id) const;
  int32_t id_of(std::string_view content) const;  // -1: none
  bool is_special(std::string_view content) const;
  size_t size() const { return entries_.size(); }
  const Entry& by_id(size_t i) const { return entries_[by_id_[i]]; }  // in the order of ids

 private:
  size_t place_of(int32_t id) const;  // in by_id_, also where it would be
  size_t place_of(std::string_view content) const;
  const Entry* entry_of(std::string_view content) const;
  const Entry* longest_at(std::string_view text, size_t place, bool normalized) const;

  std::vector<Entry> entries_;
  std::vector<uint32_t> by_id_, by_content_;   // places in entries_
  std::vector<uint32_t> first_bytes_[2][256];  // by `normalized`; longer ones first
};

}  // namespace edge
