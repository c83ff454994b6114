#include "chat/conversation.h"

#include <time.h>

#include <algorithm>
#include <utility>

#include "base/utf8.h"
#include "chat/chat_text.h"
#include "chat/date.h"

namespace edge {
namespace {

constexpr size_t kTail = 16;  // ids of a prompt that decide how the text after it begins

// The text of the ids behind the prompt, with special tokens and its first blank.
std::string said_after(const Tokenizer& tokenizer, const std::vector<int32_t>& tail,
                       const std::vector<int32_t>& ids) {
  std::vector<int32_t> both = tail;
  both.insert(both.end(), ids.begin(), ids.end());
  const std::string before = tokenizer.decode(tail.data(), tail.size(), false);
  const std::string whole = tokenizer.decode(both.data(), both.size(), false);
  size_t done = 0, place = 0;  // in characters: half a character at the end is another text there
  while (done < before.size() && place < whole.size()) {
    next_code_point(before, &done);
    next_code_point(whole, &place);
  }
  return whole.substr(place);
}

Status check_parts(const ChatParts& parts, const Tokenizer& tokenizer) {
  for (const ChatPart& part : parts) {
    if (part.kind != ChatPart::kToken) continue;
    const bool same =
        part.text.empty() ? tokenizer.knows(part.id) : tokenizer.id_of(part.text) == part.id;
    if (same) continue;
    return fail(BITNET_EDGE_ARTIFACT,
                "chat.json has the token %s with the id %d, expected one of tokenizer.json; export "
                "the checkpoint again",
                quoted(part.text).c_str(), static_cast<int>(part.id));
  }
  return {};
}

}  // namespace

Status Conversation::open(const std::string& folder, const Tokenizer& tokenizer,
                          std::unique_ptr<Conversation>* out) {
  std::unique_ptr<Conversation> made(new Conversation(tokenizer));
  Status status = read_chat_file(folder, &made->file_);
  if (!status.ok()) return status;
  const ChatFile& file = made->file_;
  if (!file.unsupported.empty()) {
    return fail(BITNET_EDGE_UNSUPPORTED, "%s", file.unsupported.c_str());
  }
  for (const ChatParts& parts : file.parts) {
    status = check_parts(parts, tokenizer);
    if (!status.ok()) return status;
  }
  *out = std::move(made);
  return {};
}

Status Conversation::start(std::string_view system, bool has_system) {
  if (has_system && !file_.takes_system) {
    return fail(BITNET_EDGE_UNSUPPORTED,
                "the model's chat template takes no system prompt here, expected none");
  }
  if (has_system) {
    Status status = file_.system.check(system, "the system prompt");
    if (!status.ok()) return status;
  }
  has_system_ = has_system;
  system_ = has_system ? std::string(system) : std::string();
  turns_.clear();
  last_prompt_.clear();
  left_out_ = 0;
  return {};
}

Status Conversation::add(std::string_view user, std::string_view answer) {
  Status status = file_.user.check(user, "the message");
  if (status.ok()) status = file_.assistant.check(answer, "the answer");
  if (!status.ok()) return status;
  turns_.push_back({std::string(user), std::string(answer), {}, {}, false});
  return {};
}

Status Conversation::prompt(std::string_view text, int32_t context, std::vector<int32_t>* ids,
                            int32_t* forgotten, bool forgets) {
  Status status = file_.user.check(text, "the message");
  for (const Turn& turn : turns_) {
    if (status.ok()) status = file_.assistant.check(turn.answer, "an answer before");
  }
  if (!status.ok()) return status;
  const size_t most = context > 0 ? static_cast<size_t>(context) : 0;
  size_t first = 0;
  std::vector<int32_t> found;
  status = encode(first, text, &found);
  if (status.ok() && forgets && !turns_.empty() && found.size() + most / 4 > most) {
    status = fit(text, most / 2, &first, &found);
  }
  if (!status.ok()) return status;
  if (found.size() > most && first < turns_.size()) {
    return fail(BITNET_EDGE_CONTEXT,
                "the conversation makes a prompt of %zu tokens, expected at most the context of "
                "%zu; leave out its oldest turns",
                found.size(), most);
  }
  if (found.size() > most) {
    return fail(BITNET_EDGE_CONTEXT,
                "the message makes a prompt of %zu tokens without any earlier turn, expected at "
                "most the context of %zu; shorten the message or the system prompt",
                found.size(), most);
  }
  last_prompt_.assign(found.end() - static_cast<ptrdiff_t>(std::min(found.size(), kTail)),
                      found.end());
  left_out_ = first;
  *forgotten = static_cast<int32_t>(first);
  *ids = std::move(found);
  return {};
}

void Conversation::answered(std::string_view text, std::string answer,
                            std::vector<int32_t> answer_ids) {
  const size_t left_out = std::min(left_out_, turns_.size());
  turns_.erase(turns_.begin(), turns_.begin() + static_cast<ptrdiff_t>(left_out));
  std::string said = said_after(tokenizer_, last_prompt_, answer_ids);
  turns_.push_back(
      {std::string(text), std::move(answer), std::move(answer_ids), std::move(said), true});
  left_out_ = 0;
}

// Leaves out as few turns as make it at most so many ids, and all of them where none do: half the
// context at once, since what is left is computed again. Halving asks for few encodings.
Status Conversation::fit(std::string_view text, size_t most, size_t* first,
                         std::vector<int32_t>* ids) const {
  size_t too_long = 0;
  *first = turns_.size();
  Status status = encode(*first, text, ids);
  while (status.ok() && *first - too_long > 1 && ids->size() <= most) {
    const size_t middle = too_long + (*first - too_long) / 2;
    std::vector<int32_t> found;
    status = encode(middle, text, &found);
    if (found.size() > most) {
      too_long = middle;
    } else {
      *first = middle;
      *ids = std::move(found);
    }
  }
  return status;
}

Status Conversation::encode(size_t first, std::string_view text, std::vector<int32_t>* ids) const {
  const time_t now = time(nullptr);
  struct tm day = {};
  localtime_r(&now, &day);
  ChatText chat(file_.parts[kAnswerTokens], day);
  ChatPlace before = kBeforeUser;
  if (has_system_) {
    chat.add(file_.parts[kBeforeSystem]);
    chat.add(file_.system.written(system_));
    before = kAfterSystem;
  }
  for (size_t i = first; i < turns_.size(); i++) {
    const Turn& turn = turns_[i];
    chat.add(file_.parts[before]);
    chat.add(file_.user.written(turn.user));
    chat.add(file_.parts[kBeforeAssistant]);
    const std::string_view answer = file_.assistant.written(turn.answer);
    const bool whole = turn.has_ids && !answer.empty() && answer == turn.answer;
    if (!whole || !chat.add_reply(answer, turn.said, turn.ids)) chat.add_answer(answer);
    before = kAfterAssistant;
  }
  chat.add(file_.parts[before]);
  chat.add(file_.user.written(text));
  chat.add(file_.parts[kPrompt]);
  return chat.encode(tokenizer_, ids);
}

}  // namespace edge
