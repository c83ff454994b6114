// What a Tokenizer consists of, and who reads what of it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/added.h"
#include "text/tokenizer.h"
#include "text/tokenizer_class.h"
#include "unicode/unicode.h"
#include "words/bpe.h"
#include "words/words.h"

namespace edge {

// The objects in a folder's files; null where a file is missing.
struct Tokenizer::Files {
  const Value& file;        // tokenizer.json
  const Value& config;      // tokenizer_config.json
  const Value& map;         // special_tokens_map.json
  const Value& added;       // added_tokens.json
  const Value& generation;  // generation_config.json
};

struct Tokenizer::Parts {
  Bpe bpe;
  Words words;
  AddedTokens added;
  std::unique_ptr<Nfc> nfc;    // where the tokenizer normalizes
  bool split_special = false;  // special tokens in a text are text for the tokenizer itself, too
  std::vector<int32_t> head, tail, eos;

  // tokenizer.json without its added tokens (tokenizer_json.cc).
  Status read_file(const Value& file, const TokenizerClass* known, const Value& config);
  Status read_normalizer(const Value& normalizer);
  Status read_post_processor(const Value& processor, int depth);

  // The added tokens of all files, and the ids that end a text (special_tokens.cc).
  Status read_tokens(const Files& files, const TokenizerClass* known);

  void encode(std::string_view text, bool special, std::vector<int32_t>* ids) const;
  int32_t id_of(std::string_view token) const;
};

}  // namespace edge
