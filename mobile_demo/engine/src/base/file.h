// Whole files, with open, read and close alone: Android's libraries are built against a C library
// that knows names, not the layout of structs.
#pragma once

#include <stdint.h>

#include <string>

#include "base/status.h"

namespace edge {

std::string join(const std::string& folder, const char* name);

bool file_exists(const std::string& path);

// The size of a file in bytes.
Status file_size(const std::string& path, uint64_t* size);

// Refuses a file of more than `limit` bytes before memory is taken for it.
Status read_file(const std::string& path, size_t limit, std::string* content);

}  // namespace edge
