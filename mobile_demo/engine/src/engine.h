// What the C interface holds.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "bitnet_edge.h"
#include "chat/conversation.h"
#include "run/generate.h"
#include "run/generation_config.h"
#include "run/manifest.h"
#include "run/session.h"
#include "text/tokenizer.h"

struct bitnet_edge {
  edge::Manifest manifest;
  edge::GenerationConfig config;
  std::vector<const char*> stop_strings;  // of config
  std::unique_ptr<edge::Tokenizer> tokenizer;
  std::unique_ptr<edge::Conversation> conversation;  // or null, and then why_no_chat
  std::string why_no_chat;
  std::vector<int32_t> chat_ends;  // the ids that end an answer, by chat.json
  std::unique_ptr<edge::Session> session;
  int threads = 0;
  std::vector<int32_t> answer_ids;
  size_t system_ids = 0;  // before the first message of the conversation
  std::atomic<bool> busy{false}, stop{false};
};

namespace edge {

Status open_engine(const bitnet_edge_options& options, bitnet_edge* engine);

// Begins a conversation, and counts the ids before its first message.
Status start_chat(bitnet_edge* engine, std::string_view system, bool has_system);

struct Output {
  bitnet_edge_piece piece;  // or null
  void* user;
  std::string text;  // what was given to it
};

// Continues ids as text; the new ids are the engine's answer_ids. of_chat: the tokens that end a
// turn end the answer in any case.
Status answer(bitnet_edge* engine, const std::vector<int32_t>& prompt,
              const bitnet_edge_generation& generation, bool of_chat, Output* output,
              LoopResult* result);

}  // namespace edge
