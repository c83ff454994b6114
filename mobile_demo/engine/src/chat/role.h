// How the texts of one role stand in a conversation, and which are refused.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace edge {

// Characters that are taken from the ends of a text.
struct ChatStrip {
  std::string left, right;
  std::string_view apply(std::string_view text) const;
};

struct ChatRole {
  ChatStrip strip;
  std::string cut;  // what follows the last one is written alone, where a text has it; "": nothing
  ChatStrip behind_cut;
  std::vector<std::string> refused;  // texts that hold one are written in a way of their own
  bool blank = true;                 // whether a text of blanks is written as others are

  std::string_view written(std::string_view text) const;
  // Fails for what is no UTF-8 and for what is refused; `what` begins the sentence.
  Status check(std::string_view text, const char* what) const;
};

}  // namespace edge
