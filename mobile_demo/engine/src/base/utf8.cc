#include "base/utf8.h"

namespace edge {

int32_t next_code_point(std::string_view text, size_t* place) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const uint32_t first = byte((*place)++);
  if (first < 0x80) return static_cast<int32_t>(first);
  if (first < 0xc2 || first > 0xf4) return -1;
  const int more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
  // The second byte's range excludes long forms, surrogates and what is above U+10FFFF.
  uint32_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  uint32_t most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  uint32_t c = first & (0x3fu >> more);
  for (int i = 0; i < more; i++) {
    if (*place >= text.size() || byte(*place) < least || byte(*place) > most) return -1;
    c = c << 6 | (byte((*place)++) & 0x3f);
    least = 0x80;
    most = 0xbf;
  }
  return static_cast<int32_t>(c);
}

bool is_utf8(std::string_view text) {
  for (size_t place = 0; place < text.size();) {
    if (next_code_point(text, &place) < 0) return false;
  }
  return true;
}

void append_code_point(std::string* text, uint32_t c) {
  const auto put = [&](uint32_t byte) { *text += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6);
    put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3f));
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  }
}

std::string lossy(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t place = 0; place < bytes.size();) {
    const size_t start = place;
    if (next_code_point(bytes, &place) < 0) {
      out += "\xef\xbf\xbd";
    } else {
      out.append(bytes.substr(start, place - start));
    }
  }
  return out;
}

}  // namespace edge
