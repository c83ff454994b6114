// A conversation of several turns: its ids, and what it forgets when the context is full. It is
// bitnet_onnx/generation/chat.py with chat.json instead of the template.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "chat/chat_file.h"
#include "text/tokenizer.h"

namespace edge {

class Conversation {
 public:
  // Reads chat.json. UNSUPPORTED, with the reason, where the artifact has no conversation. The
  // tokenizer must live as long as the conversation.
  static Status open(const std::string& folder, const Tokenizer& tokenizer,
                     std::unique_ptr<Conversation>* out);

  // The ids that end an answer.
  const std::vector<int32_t>& eos_ids() const { return file_.eos_token_ids; }

  // Begins again, with a system prompt or without one. Where it fails, nothing changes, as below.
  Status start(std::string_view system, bool has_system);
  // Adds a turn that was saved as text.
  Status add(std::string_view user, std::string_view answer);
  // The ids of the whole conversation with this message. Where the context has no room for them and
  // an answer, the oldest turns are left out if it `forgets`, and `forgotten` counts them. The
  // conversation stays as it is until `answered`.
  Status prompt(std::string_view text, int32_t context, std::vector<int32_t>* ids,
                int32_t* forgotten, bool forgets = true);
  // Makes the last prompt and its answer a turn. answer: as it was shown. answer_ids: as the model
  // chose them, without the one of eos_ids that ended them. Not to be called where none came.
  void answered(std::string_view text, std::string answer, std::vector<int32_t> answer_ids);

 private:
  struct Turn {
    std::string user, answer;
    std::vector<int32_t> ids;
    std::string said;  // the text of `ids` behind their prompt, special tokens included
    bool has_ids;
  };

  explicit Conversation(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  Status encode(size_t first, std::string_view text, std::vector<int32_t>* ids) const;
  Status fit(std::string_view text, size_t most, size_t* first, std::vector<int32_t>* ids) const;

  const Tokenizer& tokenizer_;
  ChatFile file_;
  bool has_system_ = false;
  std::string system_;
  std::vector<Turn> turns_;
  std::vector<int32_t> last_prompt_;  // the end of the prompt that is being answered
  size_t left_out_ = 0;               // turns that it left out
};

}  // namespace edge
