#include "words/pattern.h"

#include "base/utf8.h"
#include "unicode/unicode.h"

namespace edge {

Characters characters_of(std::string_view text) {
  Characters characters;
  characters.reserve(text.size());
  for (size_t place = 0; place < text.size();) {
    const size_t offset = place;
    const uint32_t c = static_cast<uint32_t>(next_code_point(text, &place));
    characters.push_back({c, class_of(c), offset});
  }
  return characters;
}

// Takes as many characters as an item may have, then fewer, as a regular expression does. The depth
// is the number of items, which the reader limits.
size_t Pattern::match_items(const Sequence& items, size_t item, const Characters& text,
                            size_t start, size_t end) const {
  if (item == items.size()) return start;
  const Item& here = items[item];
  if (here.lookahead) {
    const bool found = start < end && here.set.holds(text[start]);
    return found ? kNone : match_items(items, item + 1, text, start, end);
  }
  size_t count = 0;
  while (count < here.most && start + count < end && here.set.holds(text[start + count])) count++;
  for (; count >= here.least; count--) {
    const size_t found = match_items(items, item + 1, text, start + count, end);
    if (found != kNone || count == 0) return found;
  }
  return kNone;
}

size_t Pattern::match(const Characters& text, size_t start, size_t end) const {
  for (const Sequence& items : alternatives_) {
    const size_t found = match_items(items, 0, text, start, end);
    if (found != kNone) return found;
  }
  return kNone;
}

}  // namespace edge
