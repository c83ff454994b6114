// Text to ids and back, as transformers does it with the same files, for byte-level BPE. Knows no
// template and no model. Any other kind of tokenizer is refused in a sentence.
#pragma once

#include <stdint.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace edge {

class Tokenizer {
 public:
  // Reads tokenizer.json and tokenizer_config.json, and where they exist config.json,
  // generation_config.json, special_tokens_map.json and added_tokens.json.
  static Status open(const std::string& folder, std::unique_ptr<Tokenizer>* out);
  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;

  // special: with what the post-processor adds, a bos exactly once and no eos, and special tokens
  // in the text are ids. Else the text is only text.
  Status encode(std::string_view text, bool special, std::vector<int32_t>* ids) const;

  // A chat: texts in which special tokens are text, and ids between them. Neighbouring texts are
  // one text. The bos is not added: see head.
  struct Piece {
    std::string text;
    std::vector<int32_t> ids;
    bool is_ids;
  };
  Status encode_pieces(const std::vector<Piece>& pieces, std::vector<int32_t>* ids) const;

  // Invalid UTF-8 becomes U+FFFD, unknown ids become nothing.
  std::string decode(const int32_t* ids, size_t count, bool skip_special) const;

  int32_t id_of(std::string_view token) const;  // -1: none
  bool special(int32_t id) const;
  int32_t size() const;  // tokens, the added ones included

  // What the post-processor puts before a text: a bos most often.
  const std::vector<int32_t>& head() const;
  // The ids of eos_token and of generation_config.json.
  const std::vector<int32_t>& eos() const;
  // Special tokens that an answer leaves out: all but those around thoughts and tool calls.
  bool hidden(int32_t id) const;
  bool knows(int32_t id) const;
  // What the id stands for, as bytes that may be a part of a character. Empty where it is unknown.
  std::string bytes(int32_t id) const;

  struct Files;
  struct Parts;

 private:
  Tokenizer();
  std::unique_ptr<Parts> parts_;
};

}  // namespace edge
