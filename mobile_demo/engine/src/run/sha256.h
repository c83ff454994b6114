// SHA-256 of files.
#pragma once

#include <string>

#include "base/status.h"

namespace edge {

// The hash of a file's bytes, in hex.
Status sha256(const std::string& path, std::string* hex);

}  // namespace edge
