// A request to /v1/chat/completions: OpenAI's form, the part of it that is plain text. What is not
// obeyed is refused by its name.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "changes.h"
#include "outcome.h"

namespace board {

struct Completion {
  std::optional<std::string> system;
  std::vector<std::pair<std::string, std::string>> turns;  // a question and its answer
  std::string question;
  std::optional<std::string> model;
  Changes changes;
  bool stream = false, include_usage = false;
};

// *field is the one that is refused, "" where it is the whole.
Outcome parse_completion(std::string_view body, Completion* completion, std::string* field);

}  // namespace board
