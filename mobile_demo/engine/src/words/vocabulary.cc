#include "words/vocabulary.h"

#include <inttypes.h>

#include "base/utf8.h"

namespace edge {

// GPT-2's: printable bytes stand for themselves, the others follow from U+0100 on, in order.
static bool printable(uint32_t c) {
  return (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
}

uint32_t character_of_byte(uint8_t byte) {
  if (printable(byte)) return byte;
  if (byte <= 0x20) return 0x100u + byte;
  if (byte <= 0xa0) return 0x100u + 0x21 + (byte - 0x7fu);
  return 0x143;  // the soft hyphen
}

int byte_of_character(uint32_t c) {
  if (printable(c)) return static_cast<int>(c);
  if (c < 0x100 || c > 0x143) return -1;
  const int i = static_cast<int>(c - 0x100);
  return i <= 0x20 ? i : i < 0x43 ? 0x7f + (i - 0x21) : 0xad;
}

std::string characters_of_bytes(std::string_view bytes) {
  std::string out;
  out.reserve(2 * bytes.size());
  for (const char byte : bytes) {
    append_code_point(&out, character_of_byte(static_cast<uint8_t>(byte)));
  }
  return out;
}

static size_t hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return static_cast<size_t>(hash ^ hash >> 29);
}

Status Vocabulary::read(const Value& vocab) {
  int64_t most = -1;
  size_t bytes = 0;
  for (Value::Iterator entry = vocab.begin(); entry != vocab.end(); ++entry) {
    const int64_t id = entry->is_integer() ? entry->integer() : -1;
    if (id < 0 || id >= kMaxIds) {
      return fail(BITNET_EDGE_ARTIFACT,
                  "vocab of tokenizer.json gives %s another value than an id below %" PRId64
                  ", expected one",
                  quoted(entry.key()).c_str(), kMaxIds);
    }
    most = id > most ? id : most;
    bytes += entry.key().size();
  }
  texts_.reserve(bytes);
  tokens_.assign(static_cast<size_t>(most + 1), Token());
  size_t room = 16;
  while (room < 2 * vocab.size()) room *= 2;
  slots_.assign(room, -1);
  for (Value::Iterator entry = vocab.begin(); entry != vocab.end(); ++entry) {
    const int32_t id = static_cast<int32_t>(entry->integer());
    Token& token = tokens_[static_cast<size_t>(id)];
    if (token.known) {
      return fail(BITNET_EDGE_ARTIFACT,
                  "vocab of tokenizer.json gives %s the id %d of another token, expected one of "
                  "its own",
                  quoted(entry.key()).c_str(), id);
    }
    token = {static_cast<uint32_t>(texts_.size()), static_cast<uint32_t>(entry.key().size()), true};
    texts_ += entry.key();
    size_t slot = hash_of(entry.key()) & (room - 1);
    while (slots_[slot] >= 0) slot = (slot + 1) & (room - 1);
    slots_[slot] = id;
    count_++;
  }
  return {};
}

int32_t Vocabulary::id_of(std::string_view text) const {
  if (slots_.empty()) return -1;
  size_t slot = hash_of(text) & (slots_.size() - 1);
  for (; slots_[slot] >= 0; slot = (slot + 1) & (slots_.size() - 1)) {
    if (token(slots_[slot]) == text) return slots_[slot];
  }
  return -1;
}

}  // namespace edge
