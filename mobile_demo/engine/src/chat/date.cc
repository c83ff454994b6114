#include "chat/date.h"

#include <stdio.h>

namespace edge {
namespace {

// Arrays, not pointers, which are relocated at each start.
constexpr char kMonths[][10] = {"January",   "February", "March",    "April",
                                "May",       "June",     "July",     "August",
                                "September", "October",  "November", "December"};
constexpr char kDays[][10] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                              "Thursday", "Friday", "Saturday"};

std::string number(int value, int digits) {
  char text[16];
  snprintf(text, sizeof text, "%0*d", digits, value);
  return text;
}

std::string field(char code, const struct tm& day) {
  const std::string month = kMonths[static_cast<unsigned>(day.tm_mon) % 12];
  const std::string weekday = kDays[static_cast<unsigned>(day.tm_wday) % 7];
  switch (code) {
    case 'd':
      return number(day.tm_mday, 2);
    case 'b':
      return month.substr(0, 3);
    case 'B':
      return month;
    case 'Y':
      return number(day.tm_year + 1900, 4);
    case 'y':
      return number(day.tm_year % 100, 2);
    case 'm':
      return number(day.tm_mon + 1, 2);
    case 'a':
      return weekday.substr(0, 3);
    case 'A':
      return weekday;
    case 'j':
      return number(day.tm_yday + 1, 3);
    default:
      return {};
  }
}

}  // namespace

bool known_date(std::string_view form) {
  for (size_t i = 0; i < form.size(); i++) {
    if (form[i] != '%') continue;
    i++;
    if (i == form.size() || std::string_view("dbBYymaAj").find(form[i]) == std::string_view::npos) {
      return false;
    }
  }
  return true;
}

std::string written_date(std::string_view form, const struct tm& day) {
  std::string text;
  for (size_t i = 0; i < form.size(); i++) {
    if (form[i] == '%' && i + 1 < form.size()) {
      text += field(form[++i], day);
    } else {
      text += form[i];
    }
  }
  return text;
}

}  // namespace edge
