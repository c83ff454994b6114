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

void say(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print(formatted(format, arguments));
  va_end(arguments);
}

// Names of files may hold anything; a report is one line.
static std::string one_line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return text;
}

int report(const Outcome& outcome) {
  if (!outcome.sentence.empty()) print("error: " + one_line(outcome.sentence));
  if (!outcome.hint.empty()) print("hint: " + one_line(outcome.hint));
  return outcome.code;
}

}  // namespace board
