// Numbers as JSON writes them, read in the same way in every locale.
#pragma once

#include <stdint.h>

#include <string_view>

namespace edge {

// Both expect the grammar of JSON. The nearest double, infinite where it is too large.
double parse_double(std::string_view text);

// False where it does not fit.
bool parse_integer(std::string_view text, int64_t* number);

}  // namespace edge
