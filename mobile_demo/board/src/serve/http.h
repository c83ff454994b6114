// One HTTP request, from bytes that are not trusted. Knows no sockets.
#pragma once

#include <stddef.h>

#include <string>
#include <string_view>

namespace board {

constexpr size_t kHeadBytes = size_t{1} << 14, kBodyBytes = size_t{1} << 20;

// Whether a Host header names this machine. Otherwise a page of another site, whose name leads
// here, could ask as if it came from here.
bool is_own_host(std::string_view host);

// A request as its bytes come. It has one body at most, and no second request follows it.
class Request {
 public:
  enum State { kIncomplete, kComplete, kRefused };

  State add(std::string_view bytes);
  // Whether the client waits for a word before it sends the body; true once.
  bool wants_continue();

  // It came too late.
  void expire(double seconds);

  const std::string& method() const { return method_; }
  const std::string& target() const { return target_; }
  std::string_view body() const { return std::string_view(bytes_).substr(body_at_); }

  // Of a request that is refused.
  int status() const { return status_; }
  const std::string& sentence() const { return sentence_; }

 private:
  State refuse(int status, std::string sentence);
  State head(std::string_view text);
  State field(std::string_view line);
  State complete();

  std::string bytes_, method_, target_, sentence_;
  size_t body_at_ = 0, length_ = 0;
  int status_ = 0, hosts_ = 0, lengths_ = 0;
  bool json_ = false, expects_ = false, refused_ = false;
};

}  // namespace board
