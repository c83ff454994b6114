// A conversation as it is put together, until it is encoded.
#pragma once

#include <stdint.h>
#include <time.h>

#include <string>
#include <string_view>
#include <vector>

#include "chat/chat_file.h"
#include "text/tokenizer.h"

namespace edge {

class ChatText {
 public:
  ChatText(const ChatParts& answer_tokens, const struct tm& day)
      : answer_tokens_(answer_tokens), day_(day) {}

  void add(const ChatParts& parts);
  void add(std::string_view text);  // what a person wrote: special tokens in it are text
  void add_answer(std::string_view text);

  // Adds an answer by the ids that the model chose. They say `said`: the answer, and before it what
  // the chat must end with already, a blank most often. False, and nothing is added, where the chat
  // would say another text.
  bool add_reply(std::string_view answer, std::string_view said, const std::vector<int32_t>& ids);

  Status encode(const Tokenizer& tokenizer, std::vector<int32_t>* ids) const;

 private:
  struct Item {
    std::string text;
    int32_t id;                         // -1: text
    const std::vector<int32_t>* reply;  // null: not an answer's ids
  };
  bool take_back(std::string_view text);

  const ChatParts& answer_tokens_;
  const struct tm& day_;
  std::vector<Item> items_;
};

}  // namespace edge
