// stdin and stdout: whatever they are, a failure is one sentence.
//
// Results go to stdout: a failure to write them ends the program. Talk goes to stderr: say().
#pragma once

#include <stddef.h>

#include <string>
#include <string_view>

#include "outcome.h"

namespace board {

// Puts nothing where stdin, stdout or stderr is closed, so that a file that is opened does not
// become one of them; lets a pipe that nobody reads be an error of the write. Call it first.
void guard_streams();

bool is_terminal(int descriptor);

Outcome write_out(std::string_view text);

// The first byte of `text` that is not part of a UTF-8 character; its size where there is none.
size_t not_utf8(std::string_view text);

// The lines of stdin. CR, LF and CRLF end a line; a byte-order mark before the first is left out.
class Lines {
 public:
  // *more is false at the end. A line is UTF-8 and has at most kLongest bytes.
  Outcome next(std::string* line, bool* more);
  // Whether another line is there within so many milliseconds.
  bool soon(int milliseconds) const;

  static constexpr size_t kLongest = size_t{1} << 24;

 private:
  Outcome fill();

  std::string buffer_;
  size_t at_ = 0;
  size_t number_ = 0;
  bool ended_ = false, after_cr_ = false;
};

}  // namespace board
