#include "run/pages.h"

#ifdef __linux__
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

namespace edge {
namespace {

constexpr int kHugePage = 14;  // MADV_HUGEPAGE, which some headers hide
constexpr size_t kMostMaps = size_t{1} << 24;

std::string read_maps() {
  std::string maps;
  const int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (file < 0) return maps;
  char part[1 << 14];
  for (ssize_t got; (got = read(file, part, sizeof(part))) > 0 && maps.size() < kMostMaps;) {
    maps.append(part, static_cast<size_t>(got));
  }
  close(file);
  return maps;
}

// 55d0c0000000-55d0c0001000 r--p 00000000 08:01 1234   /folder/file
void ask_for(const std::string& line, const std::string& prefix) {
  const size_t path = line.find('/');
  if (path == line.npos || line.compare(path, prefix.size(), prefix) != 0) return;
  char* end;
  const uint64_t first = strtoull(line.c_str(), &end, 16);
  if (*end != '-') return;
  const uint64_t last = strtoull(end + 1, nullptr, 16);
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, kHugePage);
}

}  // namespace

void ask_for_huge_pages(const std::string& folder) {
  char* resolved = realpath(folder.c_str(), nullptr);
  if (!resolved) return;
  const std::string prefix = std::string(resolved) + "/", maps = read_maps();
  free(resolved);
  for (size_t start = 0; start < maps.size();) {
    const size_t end = std::min(maps.find('\n', start), maps.size());
    ask_for(maps.substr(start, end - start), prefix);
    start = end + 1;
  }
}

}  // namespace edge
#else
namespace edge {
void ask_for_huge_pages(const std::string&) {}
}  // namespace edge
#endif
