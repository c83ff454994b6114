// What is fetched ahead of a weight row: bytes where all rows are read, and how many of some rows.
#pragma once

#include "platform/compiler.h"

namespace bitnet {

static constexpr size_t kAhead = 8192, kRowsAhead = BITNET_X86 ? 32 : 12;

}  // namespace bitnet
