// Where requests come from: a port of this machine alone, or a Unix socket.
#pragma once

#include <string>

#include "outcome.h"

namespace board {

class Listener {
 public:
  Listener() = default;
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener();  // removes its Unix socket

  Outcome open(const std::string& address);
  int descriptor() const { return descriptor_; }
  const std::string& url() const { return url_; }

 private:
  Outcome open_unix(const std::string& path);
  Outcome open_port(const std::string& host, int port);

  int descriptor_ = -1;
  std::string path_, url_;
};

}  // namespace board
