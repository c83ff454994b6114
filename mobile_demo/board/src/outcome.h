// How a step ended, and how the program reports it: one sentence, then what to do.
#pragma once

#include <string>

namespace board {

constexpr int kMistake = 2, kInterrupted = 130, kNobodyReads = 141;  // exit codes, as a shell's

struct Outcome {
  int code = 0;  // the program's exit code
  std::string sentence, hint;
  bool ends = false;  // a chat too: stdin or stdout is of no use
  bool ok() const { return code == 0; }
};

[[gnu::format(printf, 1, 2)]] std::string format(const char* format, ...);
Outcome refused(std::string sentence, std::string hint = "");
Outcome useless(std::string sentence, std::string hint = "");  // one that ends a chat too

// Prints to stderr; a stderr that cannot be written is not worth ending for.
[[gnu::format(printf, 1, 2)]] void say(const char* format, ...);
// Prints a failure that has a sentence; returns its exit code.
int report(const Outcome& outcome);

}  // namespace board
