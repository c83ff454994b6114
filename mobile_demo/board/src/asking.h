// Questions and their answers on stdout: one, each line of stdin, or a chat in the terminal.
#pragma once

#include "arguments.h"
#include "model.h"
#include "streams.h"

namespace board {

class Asking {
 public:
  Asking(const Arguments& arguments, Model& model) : arguments_(arguments), model_(model) {}

  Outcome one(const std::string& question);
  Outcome each_line(Lines& lines);
  Outcome chat(Lines& lines);

 private:
  Outcome begin();                          // a conversation, unless the template is ignored
  Outcome answer(const std::string& text);  // kInterrupted where Ctrl-C stopped it
  Outcome typed(Lines& lines, std::string* text, bool* more);
  Outcome obey(const std::string& command);

  const Arguments& arguments_;
  Model& model_;
  // Only a conversation goes on where the context is full; else an answer ends, as in Python.
  bitnet_edge_when_full when_full_ = BITNET_EDGE_FULL_ENDS;
};

}  // namespace board
