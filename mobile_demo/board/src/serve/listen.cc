#include "serve/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>

namespace board {

static constexpr int kWaiting = 32;  // connections that the system keeps for us
static constexpr int kSocket = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;

Listener::~Listener() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!path_.empty()) unlink(path_.c_str());
}

Outcome Listener::open(const std::string& address) {
  if (address.rfind("unix:", 0) == 0) return open_unix(address.substr(5));
  const size_t colon = address.rfind(':');
  const std::string host = address.substr(0, colon);
  const std::string digits = colon == std::string::npos ? "" : address.substr(colon + 1);
  const bool number = !digits.empty() && digits.size() <= 5 &&
                      digits.find_first_not_of("0123456789") == std::string::npos;
  const bool own = host == "127.0.0.1" || host == "[::1]" || host == "localhost";
  if (!own || !number || atoi(digits.c_str()) > 65535) {
    return refused(
        format("--serve is '%s', expected 127.0.0.1:PORT, [::1]:PORT or unix:PATH",
               address.c_str()),
        "to answer other machines, put a proxy with a certificate and passwords before it");
  }
  return open_port(host, atoi(digits.c_str()));
}

static Outcome unusable(const std::string& what, int error) {
  return refused(format("%s cannot be served on: %s", what.c_str(), strerror(error)));
}

// Whether nobody listens at a socket that an ended program has left. Another file refuses a
// connection, too.
static bool is_left_over(const sockaddr_un& address) {
  struct stat file;
  if (lstat(address.sun_path, &file) != 0 || !S_ISSOCK(file.st_mode)) return false;
  const int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (probe < 0) return false;
  const bool refused =
      connect(probe, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 &&
      errno == ECONNREFUSED;
  close(probe);
  return refused;
}

Outcome Listener::open_unix(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return refused(format("the path of the socket has %zu bytes, expected 1 to %zu", path.size(),
                          sizeof address.sun_path - 1));
  }
  std::copy(path.begin(), path.end(), address.sun_path);
  descriptor_ = socket(AF_UNIX, kSocket, 0);
  if (descriptor_ < 0) return unusable("unix:" + path, errno);
  // Who may connect is who may write to the file: the umask decides, as for other files.
  const auto* const name = reinterpret_cast<const sockaddr*>(&address);
  int bound = bind(descriptor_, name, sizeof address);
  int error = errno;
  if (bound != 0 && error == EADDRINUSE && is_left_over(address) && unlink(path.c_str()) == 0) {
    bound = bind(descriptor_, name, sizeof address);
    error = errno;
  }
  if (bound != 0) return unusable("unix:" + path, error);
  path_ = path;
  url_ = "unix:" + path;
  if (listen(descriptor_, kWaiting) != 0) return unusable(url_, errno);
  return {};
}

Outcome Listener::open_port(const std::string& host, int port) {
  sockaddr_in four = {};
  four.sin_family = AF_INET;
  four.sin_port = htons(static_cast<uint16_t>(port));
  four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in6 six = {};
  six.sin6_family = AF_INET6;
  six.sin6_port = four.sin_port;
  six.sin6_addr = in6addr_loopback;
  const bool is_six = host == "[::1]";
  auto* const name =
      is_six ? reinterpret_cast<sockaddr*>(&six) : reinterpret_cast<sockaddr*>(&four);
  socklen_t size = is_six ? sizeof six : sizeof four;
  descriptor_ = socket(name->sa_family, kSocket, 0);
  const int yes = 1;
  const std::string address = format("%s port %d", host.c_str(), port);
  if (descriptor_ < 0 || setsockopt(descriptor_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      bind(descriptor_, name, size) != 0 || listen(descriptor_, kWaiting) != 0 ||
      getsockname(descriptor_, name, &size) != 0)
    return unusable(address, errno);
  url_ = format("http://%s:%d", host.c_str(), ntohs(is_six ? six.sin6_port : four.sin_port));
  return {};
}

}  // namespace board
