// Shared libraries: where they are looked for.
#pragma once

#include <string>

#include "base/status.h"

namespace edge {

// The address of a symbol in a library that is loaded from now on; null where there is none. `why`
// is what the system says of it.
void* load_symbol(const char* path, const char* symbol, std::string* why);

// The address of OrtGetApiBase: in the library at a path, or, where none is given, in the process,
// in a library beside this program or this library, or in the system's.
Status find_onnxruntime(const std::string& given, void** get_api_base);

// The path of the custom operators' library beside this program or this library; its name alone
// where it is in neither place.
std::string operators_beside();

}  // namespace edge
