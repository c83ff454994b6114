// The date that some chat templates write.
#pragma once

#include <time.h>

#include <string>
#include <string_view>

namespace edge {

// Whether `form` has only codes of strftime that are known: %d %b %B %Y %y %m %a %A %j.
bool known_date(std::string_view form);

// As Python's strftime, in English whatever the locale.
std::string written_date(std::string_view form, const struct tm& day);

}  // namespace edge
