// chat.json: what the export found the model's chat template to be.
// bitnet_onnx/exporter/chat/rules.py writes it, docs/artifact.md describes it.
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
  Kind kind = kText;
  std::string text;  // of a token: how it is written, "" where the tokenizer adds it
  int32_t id = -1;
};

using ChatParts = std::vector<ChatPart>;

// Where parts stand: before a role's message, or between it and the next question.
enum ChatPlace {
  kBeforeSystem,
  kAfterSystem,
  kBeforeUser,  // the first question, without a system prompt
  kBeforeAssistant,
  kAfterAssistant,
  kPrompt,        // behind the last question
  kAnswerTokens,  // special tokens that stay themselves in an answer
  kChatPlaces
};

struct ChatFile {
  std::vector<int32_t> eos_token_ids;
  std::string unsupported;  // why there is no conversation; "": there is one

  bool takes_system = false;
  ChatRole system, user, assistant;
  ChatParts parts[kChatPlaces];
};

// ARTIFACT where the file is damaged, UNSUPPORTED where it is missing or of a later version; then
// nothing in *file counts. A file with a reason in `unsupported` is read without a failure.
Status read_chat_file(const std::string& folder, ChatFile* file);

}  // namespace edge
