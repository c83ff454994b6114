// What few.inc has of each number of activation rows: how many weight rows go side by side, and
// their products by the activation rows.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace bitnet {

struct FewStep {
  size_t rows;
  void (*products)(size_t blocks, const int8_t* q, const uint8_t* const* row,
                   const uint8_t* const* ahead, int32_t* sums);
};

}  // namespace bitnet
