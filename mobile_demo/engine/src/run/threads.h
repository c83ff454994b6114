// How many threads a model runs with where nobody says.
#pragma once

#include <stdint.h>

#include <string>

namespace edge {

// One for each big core, physical ones alone; one for small weights, where a second thread costs
// more than it gains. A core is big where it has at least 0.7 of the fastest one's speed.
int threads_for(int64_t weight_bytes);

// The number of big cores by the files of a Linux system: the folder of its CPUs, and the status of
// a process, which says on which of them it may run.
int big_cores(const std::string& sys_cpu, const std::string& proc_status);

}  // namespace edge
