// What Hugging Face's tokenizers package knows of characters; make_unicode.py asks it.
#pragma once

#include <stdint.h>

#include <string>
#include <string_view>

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

// The Unicode normalization form C of valid UTF-8.
std::string nfc(std::string_view text);

}  // namespace edge
