// Damage to files for fuzzes: bytes cut off, dropped, doubled and replaced, and words of the kind
// of file put in.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "testing/check.h"

template <size_t N>
const char* any(const char* const (&list)[N], Random* random) {
  return list[random->below(N)];
}

template <size_t N>
void spoil(std::string* text, const char* const (&words)[N], Random* random) {
  for (size_t i = random->below(4) + 1; i > 0; i--) {
    const size_t place = random->below(text->size() + 1);
    const size_t length = random->below(random->below(3) ? 12 : 200);
    switch (random->below(5)) {
      case 0:
        text->insert(place, any(words, random));
        break;
      case 1:
        text->erase(place, length);
        break;
      case 2:
        text->replace(place, std::min(length, text->size() - place), any(words, random));
        break;
      case 3:
        text->insert(place, text->substr(random->below(text->size() + 1), length));
        break;
      default:
        if (place < text->size()) (*text)[place] = static_cast<char>(random->next());
    }
  }
}

// Puts a word in the place of a value of a JSON text.
template <size_t N>
void change(std::string* text, const char* const (&words)[N], Random* random) {
  constexpr std::string_view kBefore = ":[,", kBehind = ",]}";
  const size_t begin = text->find_first_of(kBefore, random->below(text->size() + 1));
  if (begin == std::string::npos) return;
  const size_t end = std::min(text->find_first_of(kBehind, begin + 1), text->size());
  text->replace(begin + 1, end - begin - 1, any(words, random));
}
