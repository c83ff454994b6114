// UTF-8, whose bytes are not trusted.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <string>
#include <string_view>

namespace edge {

// The code point at text[*place], which moves behind it. Bytes that are no UTF-8 give -1, and
// *place moves behind the longest part of them that began a character, as Unicode recommends.
int32_t next_code_point(std::string_view text, size_t* place);

bool is_utf8(std::string_view text);

void append_code_point(std::string* text, uint32_t code_point);

// The text with U+FFFD for each part that is no UTF-8.
std::string lossy(std::string_view bytes);

}  // namespace edge
