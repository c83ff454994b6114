#include "run/types.h"

namespace edge {

size_t size_of(Type type) {
  switch (type) {
    case Type::kFloat32:
      return 4;
    case Type::kFloat16:
      return 2;
    case Type::kInt8:
    case Type::kUint8:
      return 1;
    case Type::kInt64:
      return 8;
    case Type::kOther:
      break;
  }
  return 0;
}

const char* name_of(Type type) {
  switch (type) {
    case Type::kFloat32:
      return "float32";
    case Type::kFloat16:
      return "float16";
    case Type::kInt8:
      return "int8";
    case Type::kUint8:
      return "uint8";
    case Type::kInt64:
      return "int64";
    case Type::kOther:
      break;
  }
  return "another type";
}

}  // namespace edge
