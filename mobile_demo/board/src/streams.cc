#include "streams.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"
#include "interrupts.h"

namespace board {

static bool closed[3];

void guard_streams() {
  for (int descriptor = 0; descriptor < 3; ++descriptor) {
    closed[descriptor] = fcntl(descriptor, F_GETFD) < 0;
    // The lowest free number is this one, as those below are open by now.
    if (closed[descriptor] && open("/dev/null", O_RDWR) < 0) _exit(kMistake);
  }
  signal(SIGPIPE, SIG_IGN);
}

bool is_terminal(int descriptor) { return !closed[descriptor] && isatty(descriptor); }

Outcome write_out(std::string_view text) {
  if (closed[1]) return useless("stdout is closed, expected a place for the results");
  while (!text.empty()) {
    const ssize_t size = write(1, text.data(), text.size());
    if (size >= 0) {
      text.remove_prefix(static_cast<size_t>(size));
    } else if (errno == EAGAIN) {  // somebody else has made the pipe one that does not wait
      pollfd ready = {1, POLLOUT, 0};
      poll(&ready, 1, -1);
    } else if (errno == EPIPE) {
      return {kNobodyReads, "", "", true};
    } else if (errno != EINTR) {
      return useless(format("stdout cannot be written: %s", strerror(errno)));
    }
  }
  return {};
}

size_t not_utf8(std::string_view text) {
  for (size_t at = 0, next = 0; at < text.size(); at = next)
    if (edge::next_code_point(text, &next) < 0) return at;
  return text.size();
}

Outcome Lines::fill() {
  if (closed[0]) return useless("stdin is closed, expected a prompt", "give it as an argument");
  buffer_.erase(0, at_);
  at_ = 0;
  const size_t had = buffer_.size();
  if (had > kLongest) {
    return useless(
        format("line %zu of stdin has more than %zu bytes, expected fewer", number_ + 1, kLongest));
  }
  pollfd ready[] = {{0, POLLIN, 0}, {wake_descriptor(), POLLIN, 0}};
  if (poll(ready, 2, -1) < 0 && errno == EINTR) return {};
  if (interrupted()) return {kInterrupted, "", "", true};
  buffer_.resize(had + 65536);
  const ssize_t size = read(0, buffer_.data() + had, buffer_.size() - had);
  const int error = errno;
  buffer_.resize(had + (size > 0 ? static_cast<size_t>(size) : 0));
  if (size == 0) ended_ = true;
  if (size >= 0 || error == EINTR || error == EAGAIN) return {};
  return useless(format("stdin cannot be read: %s", strerror(error)));
}

Outcome Lines::next(std::string* line, bool* more) {
  size_t looked = 0, end;
  while (true) {
    if (after_cr_ && at_ < buffer_.size()) {  // the LF of a CRLF
      at_ += buffer_[at_] == '\n';
      after_cr_ = false;
    }
    end = buffer_.find_first_of("\r\n", at_ + looked);
    if (end != std::string::npos || ended_) break;
    looked = buffer_.size() - at_;
    const Outcome filled = fill();
    if (!filled.ok()) return filled;
  }
  *more = end != std::string::npos || at_ < buffer_.size();
  const bool ends = end != std::string::npos;
  *line = buffer_.substr(at_, ends ? end - at_ : std::string::npos);
  at_ = ends ? end + 1 : buffer_.size();
  after_cr_ = ends && buffer_[end] == '\r';
  ++number_;
  const size_t bad = not_utf8(*line);
  if (bad < line->size()) {
    return refused(format("line %zu of stdin holds the byte 0x%02x at offset %zu, expected UTF-8 "
                          "text",
                          number_, static_cast<unsigned char>((*line)[bad]), bad),
                   "convert it to UTF-8");
  }
  if (number_ == 1 && line->compare(0, 3, "\xef\xbb\xbf") == 0) line->erase(0, 3);
  return {};
}

bool Lines::soon(int milliseconds) const {
  if (at_ < buffer_.size()) return true;
  pollfd ready = {0, POLLIN, 0};
  return poll(&ready, 1, milliseconds) > 0;
}

}  // namespace board
