// How many bytes of weights the operators did not have to read, since the library was loaded: what
// a benchmark must subtract from the size of the weights.
#pragma once

#include <stdint.h>

namespace bitnet {

void add_skipped_rows(uint64_t bytes);     // of up, behind a closed gate
void add_skipped_columns(uint64_t bytes);  // of down, for an activation that is 0
void add_skipped_head(uint64_t bytes);     // of a two-step head's table, below the 64 largest
uint64_t skipped_rows();
uint64_t skipped_columns();
uint64_t skipped_head();

}  // namespace bitnet
