// Byte pair encoding of one word at a time. Knows bytes, tokens and merges.
#pragma once

#include <stdint.h>

#include <string_view>
#include <vector>

#include "base/json.h"
#include "words/vocabulary.h"

namespace edge {

class Bpe {
 public:
  // Reads the "model" of tokenizer.json. plain: the class of the tokenizer keeps of it the
  // vocabulary and the merges only.
  Status read(const Value& model, bool plain);

  const Vocabulary& vocabulary() const { return vocabulary_; }
  void encode(std::string_view word, std::vector<int32_t>* ids) const;

 private:
  Status read_options(const Value& model);
  Status read_bytes(const Value& model, bool plain);
  Status read_merges(const Value& merges);

  struct Merge {
    uint64_t pair = 0;  // two ids
    uint32_t rank = 0;
    int32_t id = -1;  // -1: a free slot
  };
  const Merge* merge_of(int32_t a, int32_t b) const;

  Vocabulary vocabulary_;
  bool whole_words_ = false;  // a word that is a token is not merged
  int32_t byte_ids_[256];
  std::vector<Merge> merges_;  // a table with open addressing
};

}  // namespace edge
