// How many bytes of weights the operators did not have to read, since the library was loaded: what
// a benchmark must subtract from the size of the weights.
#pragma once

#include <stdint.h>

namespace bitnet {

void add_skipped(uint64_t bytes);
uint64_t skipped_bytes();

}  // namespace bitnet
