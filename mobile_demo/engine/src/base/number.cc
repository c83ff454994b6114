#include "base/number.h"

#include <stdlib.h>

#include <string>

namespace edge {

double parse_double(std::string_view text) {
  // strtod reads the point of the user's locale, so it gets digits and an exponent alone.
  std::string written;
  int64_t exponent = 0;
  size_t i = 0;
  bool fraction = false;
  for (; i < text.size() && text[i] != 'e' && text[i] != 'E'; i++) {
    if (text[i] == '.') {
      fraction = true;
    } else {
      written += text[i];
      if (fraction) exponent--;
    }
  }
  if (i < text.size()) {
    const bool negative = text[i + 1] == '-';
    int64_t size = 0;
    for (i++; i < text.size(); i++) {
      if (text[i] >= '0' && text[i] <= '9' && size < 1000000000) size = size * 10 + text[i] - '0';
    }
    exponent += negative ? -size : size;
  }
  if (exponent != 0) written += "e" + std::to_string(exponent);
  return strtod(written.c_str(), nullptr);
}

bool parse_integer(std::string_view text, int64_t* number) {
  const bool negative = !text.empty() && text[0] == '-';
  uint64_t size = 0;
  const uint64_t most = (uint64_t{1} << 63) - (negative ? 0 : 1);
  for (const char c : text.substr(negative)) {
    const uint64_t digit = static_cast<uint64_t>(c - '0');
    if (size > most / 10 || size * 10 > most - digit) return false;
    size = size * 10 + digit;
  }
  *number = static_cast<int64_t>(negative ? uint64_t{0} - size : size);
  return true;
}

}  // namespace edge
