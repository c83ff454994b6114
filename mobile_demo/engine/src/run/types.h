// The element types of a graph's tensors.
#pragma once

#include <stddef.h>

namespace edge {

enum class Type { kFloat32, kFloat16, kInt8, kUint8, kInt64, kOther };
size_t size_of(Type type);
// "float32", ...
const char* name_of(Type type);

}  // namespace edge
