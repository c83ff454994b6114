// What Hugging Face's tokenizers package knows of characters; make_unicode.py asks it.
#pragma once

#include <stdint.h>

#include <string>
#include <string_view>
#include <vector>

namespace edge {

// Bits of a character's class.
enum : uint8_t {
  kLetter = 1,    // \p{L}
  kNumber = 2,    // \p{N}
  kMark = 4,      // \p{M}
  kSpace = 8,     // \s
  kDigit = 16,    // \d
  kWord = 32,     // beside which an added token is no single word
  kNumeric = 64,  // what the pre-tokenizer Digits cuts out
};

uint8_t class_of(uint32_t code_point);

// The Unicode normalization form C. Its tables are unpacked, so a tokenizer without it makes none.
class Nfc {
 public:
  Nfc();
  std::string normalized(std::string_view text) const;  // of valid UTF-8

 private:
  struct Mark;
  struct Whole {  // a character that has parts
    uint32_t c;
    uint16_t start, count;  // of parts_
  };
  struct Pair {
    uint64_t parts;  // the second one and the first one
    uint32_t whole;
  };
  void add(uint32_t whole, size_t count);
  void decompose(uint32_t c, std::vector<Mark>* out) const;
  uint32_t composed(uint32_t a, uint32_t b) const;
  static void order(std::vector<Mark>* text);
  void compose(std::vector<Mark>* text) const;

  std::vector<uint32_t> parts_;
  std::vector<Whole> wholes_;  // in increasing order
  std::vector<Pair> pairs_;    // in increasing order
};

}  // namespace edge
