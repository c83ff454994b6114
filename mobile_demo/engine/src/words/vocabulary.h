// The tokens of a byte-level BPE: texts whose characters stand for bytes, and their ids.
#pragma once

#include <stdint.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace edge {

// The character that stands for a byte, and back; -1 for a character that stands for none.
uint32_t character_of_byte(uint8_t byte);
int byte_of_character(uint32_t character);

// The text with a character for each byte.
std::string characters_of_bytes(std::string_view bytes);

class Vocabulary {
 public:
  static constexpr int64_t kMaxIds = int64_t{1} << 21;

  // Reads the "vocab" of a model.
  Status read(const Value& vocab);

  int32_t id_of(std::string_view token) const;  // -1: none
  bool has(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < tokens_.size() &&
           tokens_[static_cast<size_t>(id)].known;
  }
  std::string_view token(int32_t id) const {
    const Token& found = tokens_[static_cast<size_t>(id)];
    return std::string_view(texts_).substr(found.start, found.size);
  }
  int32_t size() const { return count_; }

 private:
  struct Token {
    uint32_t start = 0, size = 0;
    bool known = false;
  };
  std::string texts_;
  std::vector<Token> tokens_;   // by id
  std::vector<int32_t> slots_;  // a table with open addressing; -1: free
  int32_t count_ = 0;
};

}  // namespace edge
