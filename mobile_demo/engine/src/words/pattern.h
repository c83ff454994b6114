// The regular expressions by which byte-level tokenizers cut text into words: those of GPT-2,
// LLaMA 3, Qwen and their like. It reads the part of Oniguruma's language that they use, and
// refuses the rest in a sentence.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace edge {

// One character of a text, decoded.
struct Character {
  uint32_t c;
  uint8_t bits;   // class_of(c)
  size_t offset;  // in bytes
};
using Characters = std::vector<Character>;

// The characters of valid UTF-8.
Characters characters_of(std::string_view text);

// A set of characters: classes and ranges, or all others.
struct Set {
  uint8_t bits = 0;
  bool negated = false;
  std::vector<std::pair<uint32_t, uint32_t>> ranges;  // first and last

  bool holds(const Character& character) const {
    bool found = character.bits & bits;
    for (size_t i = 0; !found && i < ranges.size(); i++) {
      found = ranges[i].first <= character.c && character.c <= ranges[i].second;
    }
    return found != negated;
  }
};

class Pattern {
 public:
  static constexpr size_t kNone = static_cast<size_t>(-1);

  static Status read(std::string_view regex, Pattern* out);

  // The end of the match that starts at text[start]; kNone where there is none. A match is never
  // empty. Characters from `end` on are not seen.
  size_t match(const Characters& text, size_t start, size_t end) const;

 private:
  friend class PatternReader;
  // least to most characters of a set; or, of a lookahead, none of the set at the next place.
  struct Item {
    Set set;
    size_t least = 1, most = 1;
    bool lookahead = false;
  };
  using Sequence = std::vector<Item>;
  size_t match_items(const Sequence& items, size_t item, const Characters& text, size_t start,
                     size_t end) const;

  std::vector<Sequence> alternatives_;  // the first one that matches counts
};

}  // namespace edge
