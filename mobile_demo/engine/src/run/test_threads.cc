// How many threads: by the files of systems with big and small cores.
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "run/threads.h"
#include "testing/check.h"

static void write_file(const std::string& path, const std::string& text) {
  FILE* file = fopen(path.c_str(), "w");
  CHECK(file && fputs(text.c_str(), file) >= 0);
  if (file) fclose(file);
}

struct System {
  const char* name;
  int expected;
  std::vector<int> capacities, frequencies;  // of each core; empty: the system does not tell
  int threads = 1;                           // of a core
  const char* online = "";
  const char* allowed = "";
};

static void check(const System& system, int number, const std::string& root) {
  CASE("%s", system.name);
  const std::string folder = root + "/" + std::to_string(number);
  mkdir(folder.c_str(), 0700);
  const size_t cores = std::max(system.capacities.size(), system.frequencies.size());
  for (size_t i = 0; i < cores; i++) {
    const std::string core = folder + "/cpu" + std::to_string(i);
    mkdir(core.c_str(), 0700);
    if (!system.capacities.empty()) {
      write_file(core + "/cpu_capacity", std::to_string(system.capacities[i]) + "\n");
    }
    mkdir((core + "/cpufreq").c_str(), 0700);
    if (!system.frequencies.empty()) {
      write_file(core + "/cpufreq/cpuinfo_max_freq", std::to_string(system.frequencies[i]));
    }
    if (system.threads == 1) continue;
    mkdir((core + "/topology").c_str(), 0700);
    const size_t first = i % (cores / 2);
    write_file(core + "/topology/thread_siblings_list",
               std::to_string(first) + "," + std::to_string(first + cores / 2) + "\n");
  }
  if (*system.online) write_file(folder + "/online", std::string(system.online) + "\n");
  const std::string allowed = folder + "/status";
  write_file(allowed, std::string("Name:\tx\nCpus_allowed_list:\t") + system.allowed + "\nX:\t0\n");
  CHECK(edge::big_cores(folder, allowed) == system.expected);
}

int main() {
  const std::vector<System> systems = {
      {"a phone, 4 + 4", 4, {250, 250, 250, 250, 1024, 1024, 1024, 1024}, {}},
      {"a phone, 4 + 3 + 1", 4, {325, 325, 325, 325, 828, 828, 828, 1024}, {}},
      {"a phone that tells frequencies",
       4,
       {},
       {1800000, 1800000, 1800000, 1800000, 2420000, 2420000, 2420000, 2840000}},
      {"a Raspberry Pi", 4, {1024, 1024, 1024, 1024}, {}},
      {"cores that tell nothing", 0 + 1, {}, {}},
      {"two threads on each core", 4, {}, std::vector<int>(8, 3000000), 2},
      {"a favoured core", 4, {}, {5000000, 4800000, 4800000, 4800000}},
      {"cores that are off", 3, std::vector<int>(6, 1024), {}, 1, "0-1,4"},
      {"a container", 2, std::vector<int>(64, 1024), {}, 1, "0-63", "7-8"},
      {"numbers that are none", 2, {1024, 1024}, {}, 1, "-,x", "99999999999999999999-1"},
  };
  char root[] = "/tmp/bitnet_edge_XXXXXX";
  if (!mkdtemp(root)) return 1;
  for (size_t i = 0; i < systems.size(); i++) check(systems[i], static_cast<int>(i), root);
  CASE("small weights");
  CHECK(edge::threads_for(1000) == 1);
  CHECK(edge::threads_for(int64_t{1} << 30) >= 1);
  const std::string clean = std::string("rm -r ") + root;
  CHECK(system(clean.c_str()) == 0);
  return failures != 0;
}
