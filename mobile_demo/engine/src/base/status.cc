#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/utf8.h"

namespace edge {

constexpr size_t kRoom = sizeof(bitnet_edge_error::sentence);
constexpr size_t kQuoted = 160;  // bytes of a quoted text

Status::Status() = default;
Status::Status(bitnet_edge_code what, std::string says) : code(what), sentence(std::move(says)) {}
Status::Status(const Status& other) = default;
Status::Status(Status&& other) = default;
Status& Status::operator=(Status&& other) = default;
Status::~Status() = default;

Status fail(bitnet_edge_code code, const char* format, ...) {
  char sentence[kRoom];
  va_list arguments;
  va_start(arguments, format);
  const int written = vsnprintf(sentence, sizeof sentence, format, arguments);
  va_end(arguments);
  std::string text = written < 0 ? std::string(format) : std::string(sentence);
  if (static_cast<size_t>(written < 0 ? 0 : written) >= sizeof sentence) {
    while (!is_utf8(text)) text.pop_back();  // at most three bytes of a cut character
  }
  return {code, text};
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (size_t place = 0; place < text.size();) {
    if (out.size() > kQuoted) return out + "…\"";
    const size_t start = place;
    const int32_t c = next_code_point(text, &place);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20 || c == 0x7f) {  // also what is no UTF-8
      char escape[8];
      for (size_t i = start; i < place; i++) {
        snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned char>(text[i]));
        out += escape;
      }
    } else {
      out.append(text.substr(start, place - start));
    }
  }
  return out + "\"";
}

}  // namespace edge
