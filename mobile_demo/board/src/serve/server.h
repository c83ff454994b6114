// Answers requests of this machine, one at a time.
#pragma once

#include "arguments.h"

namespace board {

// Until a signal to end, which is an orderly end.
Outcome serve(const Arguments& arguments);

}  // namespace board
