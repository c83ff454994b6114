#include "run/threads.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <bitset>
#include <vector>
#ifdef __APPLE__
#include <sys/sysctl.h>
#include <sys/types.h>
#endif

namespace edge {
namespace {

constexpr int64_t kSmall = 16000000;  // bytes of weights, as in the page for browsers
constexpr int kMostCores = 1024;

// Up to 4 KB of a file of the system, whose size is not known before.
std::string read_some(const std::string& path) {
  char text[4096];
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return "";
  const ssize_t got = read(file, text, sizeof(text));
  close(file);
  return std::string(text, got > 0 ? static_cast<size_t>(got) : 0);
}

using Marks = std::bitset<kMostCores>;

// "0-3,6" as a mark for each number. All are marked where there is no such list.
Marks listed(const std::string& list) {
  Marks found;
  for (const char* at = list.c_str(); *at;) {
    char* end;
    const long first = strtol(at, &end, 10);
    if (end == at) break;
    long last = first;
    if (*end == '-') last = strtol(end + 1, &end, 10);
    for (long core = std::max(first, 0L); core <= std::min(last, kMostCores - 1L); core++) {
      found[core] = true;
    }
    if (*end != ',') break;
    at = end + 1;
  }
  return found.any() ? found : found.set();
}

std::string after(const std::string& text, const char* key) {
  const size_t at = text.find(key);
  return at == text.npos ? "" : text.substr(text.find_first_not_of(" \t", at + strlen(key)));
}

// Of several hardware threads of a core, the first stands for it.
bool is_physical(const std::string& core, int number) {
  const std::string siblings = read_some(core + "/topology/thread_siblings_list");
  return siblings.empty() || strtol(siblings.c_str(), nullptr, 10) == number;
}

}  // namespace

int big_cores(const std::string& sys_cpu, const std::string& proc_status) {
  const Marks online = listed(read_some(sys_cpu + "/online"));
  const Marks allowed = listed(after(read_some(proc_status), "Cpus_allowed_list:"));
  std::vector<long> speeds;
  for (int number = 0; number < kMostCores; number++) {
    const std::string core = sys_cpu + "/cpu" + std::to_string(number);
    if (!online[number] || !allowed[number]) continue;
    if (access(core.c_str(), F_OK) != 0) continue;
    if (!is_physical(core, number)) continue;
    std::string speed = read_some(core + "/cpu_capacity");
    if (speed.empty()) speed = read_some(core + "/cpufreq/cpuinfo_max_freq");
    speeds.push_back(std::max(strtol(speed.c_str(), nullptr, 10), 0L));
  }
  if (speeds.empty()) return 1;
  const long fastest = *std::max_element(speeds.begin(), speeds.end());
  return static_cast<int>(std::count_if(speeds.begin(), speeds.end(), [fastest](long speed) {
    return speed >= fastest - fastest / 10 * 3;
  }));
}

int threads_for(int64_t weight_bytes) {
  if (weight_bytes < kSmall) return 1;
#ifdef __APPLE__
  int cores = 0;
  size_t size = sizeof(cores);
  if (sysctlbyname("hw.perflevel0.physicalcpu", &cores, &size, nullptr, 0) != 0) {
    size = sizeof(cores);
    if (sysctlbyname("hw.physicalcpu", &cores, &size, nullptr, 0) != 0) cores = 1;
  }
  return std::max(cores, 1);
#else
  return big_cores("/sys/devices/system/cpu", "/proc/self/status");
#endif
}

}  // namespace edge
