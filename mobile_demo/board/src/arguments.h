// The command line.
#pragma once

#include <string>

#include "changes.h"
#include "outcome.h"

namespace board {

struct Arguments {
  std::string artifact;
  std::optional<std::string> question, system, onnxruntime, serve;
  int threads = 0;
  Changes changes;
  bool ignore_chat_template = false, stats = false, json = false, check = false, help = false,
       version = false;
};

extern const char kHelp[];

// Nothing is taken twice, and no option has a short form.
Outcome parse(int count, const char* const* words, Arguments* arguments);

}  // namespace board
