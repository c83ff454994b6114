#include "chat/role.h"

#include "base/utf8.h"

namespace edge {
namespace {

bool continues(char byte) { return (byte & 0xc0) == 0x80; }

// What str.strip of Python removes.
bool is_blank(int32_t c) {
  return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

bool all_blank(std::string_view text) {
  for (size_t place = 0; place < text.size();) {
    if (!is_blank(next_code_point(text, &place))) return false;
  }
  return true;
}

}  // namespace

std::string_view ChatStrip::apply(std::string_view text) const {
  while (!text.empty()) {
    size_t size = 1;  // of the first character
    while (size < text.size() && continues(text[size])) size++;
    if (left.find(text.substr(0, size)) == std::string::npos) break;
    text.remove_prefix(size);
  }
  while (!text.empty()) {
    size_t size = 1;  // of the last one
    while (size < text.size() && continues(text[text.size() - size])) size++;
    if (right.find(text.substr(text.size() - size)) == std::string::npos) break;
    text.remove_suffix(size);
  }
  return text;
}

std::string_view ChatRole::written(std::string_view text) const {
  const size_t at = cut.empty() ? std::string_view::npos : text.rfind(cut);
  if (at != std::string_view::npos) text = behind_cut.apply(text.substr(at + cut.size()));
  return strip.apply(text);
}

Status ChatRole::check(std::string_view text, const char* what) const {
  if (!is_utf8(text)) {
    return fail(BITNET_EDGE_ARGUMENT, "%s is not valid UTF-8, expected a text", what);
  }
  for (const std::string& literal : refused) {
    if (text.find(literal) == std::string_view::npos) continue;
    return fail(BITNET_EDGE_UNSUPPORTED,
                "%s holds %s, which the model's chat template reads, expected a text without it",
                what, quoted(literal).c_str());
  }
  if (!blank && all_blank(text)) {
    return fail(BITNET_EDGE_UNSUPPORTED,
                "%s is blank, which the model's chat template reads, expected a text", what);
  }
  return {};
}

}  // namespace edge
