#include "chat/chat_text.h"

#include "chat/date.h"

namespace edge {

void ChatText::add(const ChatParts& parts) {
  for (const ChatPart& part : parts) {
    if (part.kind == ChatPart::kToken) {
      items_.push_back({part.text, part.id, nullptr});
    } else {
      add(part.kind == ChatPart::kDate ? written_date(part.text, day_) : part.text);
    }
  }
}

void ChatText::add(std::string_view text) {
  if (!text.empty()) items_.push_back({std::string(text), -1, nullptr});
}

void ChatText::add_answer(std::string_view text) {
  while (!text.empty()) {
    size_t at = std::string_view::npos;
    const ChatPart* token = nullptr;  // the first one, and of those at one place the longest
    for (const ChatPart& part : answer_tokens_) {
      const size_t found = text.find(part.text);
      if (found == std::string_view::npos) continue;
      if (!token || found < at || (found == at && part.text.size() > token->text.size())) {
        at = found;
        token = &part;
      }
    }
    if (!token) break;
    add(text.substr(0, at));
    items_.push_back({token->text, token->id, nullptr});
    text.remove_prefix(at + token->text.size());
  }
  add(text);
}

bool ChatText::add_reply(std::string_view answer, std::string_view said,
                         const std::vector<int32_t>& ids) {
  if (said.size() < answer.size()) return false;
  const size_t before = said.size() - answer.size();
  if (said.substr(before) != answer || !take_back(said.substr(0, before))) return false;
  items_.push_back({std::string(), -1, &ids});
  return true;
}

// Removes a text from the end of the chat; false, and nothing is removed, where it is not there.
bool ChatText::take_back(std::string_view text) {
  size_t count = items_.size();
  while (!text.empty()) {
    if (count == 0) return false;
    const Item& item = items_[count - 1];
    const bool whole = item.text.size() <= text.size();
    if (item.reply || item.text.empty() || (item.id >= 0 && !whole)) return false;
    const size_t size = whole ? item.text.size() : text.size();
    if (text.substr(text.size() - size) != item.text.substr(item.text.size() - size)) return false;
    text.remove_suffix(size);
    if (!whole) {
      items_[count - 1].text.resize(item.text.size() - size);
      break;
    }
    count--;
  }
  items_.resize(count);
  return true;
}

Status ChatText::encode(const Tokenizer& tokenizer, std::vector<int32_t>* ids) const {
  std::vector<Tokenizer::Piece> pieces;
  for (const Item& item : items_) {
    const bool is_ids = item.reply || item.id >= 0;
    if (!is_ids) {
      pieces.push_back({item.text, {}, false});
    } else {
      pieces.push_back({{}, item.reply ? *item.reply : std::vector<int32_t>{item.id}, true});
    }
  }
  ids->clear();
  return tokenizer.encode_pieces(pieces, ids);
}

}  // namespace edge
