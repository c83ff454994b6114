// The pre-tokenizer of tokenizer.json: cuts text into the words that are encoded one by one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "words/bpe.h"
#include "words/pattern.h"

namespace edge {

class Words {
 public:
  // Reads a "pre_tokenizer". UNSUPPORTED for a kind that is not known here.
  Status read(const Value& pre_tokenizer);

  // Appends the ids of valid UTF-8 in which no added token is.
  void encode(std::string_view text, const Bpe& bpe, std::vector<int32_t>* ids) const;

  // Whether a word at the start of a text differs from one behind others.
  bool adds_blank() const { return blank_; }

 private:
  // Cuts each piece that the steps before left.
  struct Step {
    enum Kind { kPattern, kDigit, kDigits } kind;
    Pattern pattern;
    bool keeps_others;  // what the pattern does not match is a piece, too
  };
  Status read_step(const Value& step);
  Status read_split(const Value& step);
  Status read_byte_level(const Value& step);
  struct Piece;
  void cut(size_t step, const Piece& piece, const Bpe& bpe, std::vector<int32_t>* ids) const;

  std::vector<Step> steps_;
  size_t before_blank_ = 0;  // steps before the one that puts the blank in
  bool blank_ = false;
  bool byte_level_ = false;
};

}  // namespace edge
