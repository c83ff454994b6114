#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

namespace edge {

std::string join(const std::string& folder, const char* name) {
  const bool ends = !folder.empty() && folder.back() == '/';
  return folder + (ends || folder.empty() ? "" : "/") + name;
}

static Status cannot_read(const std::string& path) {
  return fail(BITNET_EDGE_ARTIFACT, "%s cannot be read: %s", path.c_str(), strerror(errno));
}

namespace {
// A descriptor that closes itself. A pipe with the name of a file must not be waited for.
struct Opened {
  explicit Opened(const std::string& path)
      : fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~Opened() {
    if (fd >= 0) close(fd);
  }
  Opened(const Opened&) = delete;
  int fd;
};
}  // namespace

bool file_exists(const std::string& path) {
  const Opened file(path);
  return file.fd >= 0 || errno != ENOENT;
}

static Status size_of(const Opened& file, const std::string& path, uint64_t* size) {
  if (file.fd < 0) return cannot_read(path);
  const off_t end = lseek(file.fd, 0, SEEK_END);
  if (end < 0 || lseek(file.fd, 0, SEEK_SET) < 0) return cannot_read(path);
  *size = static_cast<uint64_t>(end);
  return {};
}

Status file_size(const std::string& path, uint64_t* size) {
  return size_of(Opened(path), path, size);
}

Status read_file(const std::string& path, size_t limit, std::string* content) {
  const Opened file(path);
  uint64_t size = 0;
  if (const Status status = size_of(file, path, &size); !status.ok()) return status;
  // A folder states a size of its own, and reading tells it.
  char first;
  ssize_t got = read(file.fd, &first, 1);
  if (got < 0) return cannot_read(path);
  if (size > limit) {
    return fail(BITNET_EDGE_ARTIFACT, "%s has %llu bytes, expected at most %zu", path.c_str(),
                static_cast<unsigned long long>(size), limit);
  }
  content->assign(static_cast<size_t>(size), '\0');
  size_t done = 0;
  if (got == 1 && size > 0) (*content)[done++] = first;
  while (done < content->size()) {
    got = read(file.fd, &(*content)[done], content->size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return cannot_read(path);
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  if (done < content->size()) {
    return fail(BITNET_EDGE_ARTIFACT, "%s ended after %zu bytes, expected %llu", path.c_str(), done,
                static_cast<unsigned long long>(size));
  }
  return {};
}

}  // namespace edge
