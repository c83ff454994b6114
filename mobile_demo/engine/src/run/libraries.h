// Shared libraries: where they are looked for.
#pragma once

#include <string>
#include <vector>

namespace edge {

// The folder of this program, and that of the library that holds this function; each with a slash
// at the end, and left out where the system does not tell.
std::vector<std::string> own_folders();

// The address of a symbol in a library that is loaded from now on; null where there is none. `why`
// is what the system says of it.
void* load_symbol(const char* path, const char* symbol, std::string* why);

// The address of a symbol that the process has already, or null.
void* find_symbol(const char* symbol);

}  // namespace edge
