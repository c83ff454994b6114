// Shared by the operators with ternary weights.
#pragma once

#include "kernels/format.h"
#include "platform/sizes.h"

namespace bitnet {

inline size_t blocks_of(size_t k) { return parts(k, kBlockK); }

}  // namespace bitnet
