// Small readers for the parts of tokenizer files. What a file declares is obeyed or refused by
// name.
#pragma once

#include <initializer_list>
#include <string_view>

#include "base/json.h"

namespace edge {

// The "type" of a part; "null" where it is none.
std::string_view type_of(const Value& part);

// UNSUPPORTED where the part has a key that is not among these.
Status only_keys(const Value& part, const char* where,
                 std::initializer_list<std::string_view> keys);

// Reads a key that must be true or false.
Status read_flag(const Value& part, const char* key, bool* flag);

// As Python sees a value that may be missing.
bool truthy(const Value* value);

}  // namespace edge
