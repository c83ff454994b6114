// The tokens that the files of a folder declare or name, before a tokenizer has them.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/tokenizer_parts.h"

namespace edge {

// A token as a file writes it. Where `normalized` is missing, it follows from `special`.
struct Declared {
  Added token;
  std::optional<bool> normalized;

  Added whole() const {
    Added out = token;
    out.normalized = normalized.value_or(!token.special);
    return out;
  }
};

struct Named {
  std::string name;
  Declared token;
};

// Declared tokens by id; of two with one id, the later one counts.
struct ById {
  std::vector<std::pair<int64_t, Declared>> tokens;  // in the order of ids

  bool has(int64_t id) const;
  Status put(int64_t id, const Declared& token);

 private:
  size_t place_of(int64_t id) const;
};

// Whether one of the tokens is this text.
bool names(const std::vector<Named>& tokens, std::string_view text);

// A token, as an object or as its text alone. `where` begins the sentence of a refusal.
Status read_token(const Value& written, const char* where, bool special, Declared* out);

// The tokens that the configuration names, such as bos_token and image_token, and those of its
// lists of further special ones. defaults: what the class of the tokenizer names.
Status read_named(const Tokenizer::Files& files, const Value& defaults, std::vector<Named>* named,
                  std::vector<Named>* extra);

// "added_tokens" of tokenizer.json, with every flag. They are declared; `added`, where it is given,
// gets them in the order of the list.
Status read_list(const Value& list, ById* declared, AddedTokens* added, const Bpe& bpe);

// "added_tokens_decoder" declares all tokens; else added_tokens.json and tokenizer.json do.
Status read_declared(const Tokenizer::Files& files, const std::vector<Named>& named,
                     const std::vector<Named>& extra, ById* declared);

}  // namespace edge
