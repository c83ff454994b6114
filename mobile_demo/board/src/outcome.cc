#include "outcome.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <utility>

namespace board {

static std::string formatted(const char* format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  const int size = vsnprintf(nullptr, 0, format, arguments);
  std::string text(size < 0 ? 0 : static_cast<size_t>(size), '\0');
  vsnprintf(text.data(), text.size() + 1, format, again);
  va_end(again);
  return text;
}

std::string format(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string text = formatted(format, arguments);
  va_end(arguments);
  return text;
}

Outcome refused(std::string sentence, std::string hint) {
  return {kMistake, std::move(sentence), std::move(hint), false};
}

Outcome useless(std::string sentence, std::string hint) {
  return {kMistake, std::move(sentence), std::move(hint), true};
}

static void print(std::string line) {
  line += '\n';
  for (size_t done = 0; done < line.size();) {
    const ssize_t size = write(2, line.data() + done, line.size() - done);
    if (size <= 0) return;
    done += static_cast<size_t>(size);
  }
}

// Names of files may hold anything, also what a terminal obeys.
static std::string shown(std::string text, bool one_line) {
  for (char& c : text) {
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    if (control && (one_line || c != '\n')) c = ' ';
  }
  return text;
}

void say(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print(shown(formatted(format, arguments), false));
  va_end(arguments);
}

int report(const Outcome& outcome) {
  if (!outcome.sentence.empty()) print("error: " + shown(outcome.sentence, true));
  if (!outcome.hint.empty()) print("hint: " + shown(outcome.hint, true));
  return outcome.code;
}

}  // namespace board
