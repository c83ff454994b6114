// Shared by the operators with ternary weights.
#pragma once

#include "kernels/format.h"
#include "platform/sizes.h"

namespace bitnet {

// Fewer activation rows go over ternary weights one by one, and each skips what it can: unpacked
// panels would take longer (measured with AVX2 and AVX-512 VNNI, half of the gates zero).
constexpr size_t kGemmRows = 6;

inline size_t blocks_of(size_t k) { return parts(k, kBlockK); }

}  // namespace bitnet
