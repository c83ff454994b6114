// Streamed text: whole characters only, cut at stop strings.
#pragma once

#include <stdint.h>

#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace edge {

// Decodes ids one by one; the joined pieces are Tokenizer::decode of all ids. Special tokens around
// thoughts and tool calls are shown: an answer cannot be read without them.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string add(int32_t id);  // the text that this id completes; may be empty
  std::string finish();         // what is held back: bytes that no id completed

 private:
  const Tokenizer& tokenizer_;
  std::string window_;  // bytes whose text is not all certain
  size_t emitted_ = 0;  // characters of its text that were returned
};

// Cuts streamed text before the stop string that ends first; of two that end together, the longer.
// Text that may begin one is held back until the next pieces decide it.
class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {}
  std::string add(std::string_view piece);  // the text that is now certain
  std::string finish();                     // the text held back at the end
  bool found() const { return found_; }

 private:
  std::vector<std::string> strings_;
  std::string held_;
  bool found_ = false;
};

// An answer's ids as text that is safe to show. Stop strings are looked for in the text with
// special tokens, as transformers does; that of a hidden one is not shown.
class AnswerText {
 public:
  AnswerText(const Tokenizer& tokenizer, std::vector<std::string> stop_strings)
      : tokenizer_(tokenizer), decoder_(tokenizer), stop_(std::move(stop_strings)) {}
  std::string add(int32_t id);
  std::string finish();
  bool stopped() const { return stop_.found(); }

 private:
  std::string shown(std::string text, bool visible);
  std::string certain(size_t bytes);

  struct Waiting {
    std::string text;
    bool visible;
  };
  const Tokenizer& tokenizer_;
  StreamDecoder decoder_;
  StopStrings stop_;
  std::vector<Waiting> waiting_;  // given to stop_ and not certain yet
};

}  // namespace edge
