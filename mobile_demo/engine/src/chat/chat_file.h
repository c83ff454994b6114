// chat.json: what the export found the model's chat template to be.
// bitnet_onnx/exporter/chat_rules.py writes it, docs/artifact.md describes it.
#pragma once

#include <stdint.h>

#include <string>
#include <vector>

#include "base/status.h"
#include "chat/role.h"

namespace edge {

// What stands around the messages: a text, a special token, or the form of a date.
struct ChatPart {
  enum Kind { kText, kToken, kDate };
  Kind kind;
  std::string text;  // of a token: how it is written, "" where the tokenizer adds it
  int32_t id;
};

using ChatParts = std::vector<ChatPart>;

struct ChatFile {
  std::vector<int32_t> eos_token_ids;
  std::string unsupported;  // why there is no conversation; "": there is one

  bool takes_system = false;
  ChatRole system, user, assistant;
  ChatParts before_system, after_system;
  ChatParts before_user;  // before the first question, without a system prompt
  ChatParts before_assistant, after_assistant;
  ChatParts prompt;         // behind the last question
  ChatParts answer_tokens;  // special tokens that stay themselves in an answer
};

// ARTIFACT where the file is damaged, UNSUPPORTED where it is missing or of a later version. A file
// with a reason in `unsupported` is read without a failure.
Status read_chat_file(const std::string& folder, ChatFile* file);

}  // namespace edge
