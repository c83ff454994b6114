// In which order the lines of rows side by side are read.
#pragma once

#include <stddef.h>

#include "platform/compiler.h"

namespace bitnet {
namespace {

// The place of the i-th of `count` lines, one to one. Where rows side by side, or rows that lie
// apart, are read in the order of memory, the hardware fetches on past the end of each, up to half
// of what lies between, in place of what was asked for. So eights are read as 4, 1, 6, 3, 0, 7, 2,
// 5. Arm was not measured.
constexpr size_t apart(size_t i, size_t count) {
  return BITNET_X86 && i < count / 8 * 8 ? i / 8 * 8 + (052703614 >> i % 8 * 3 & 7) : i;
}

}  // namespace
}  // namespace bitnet
