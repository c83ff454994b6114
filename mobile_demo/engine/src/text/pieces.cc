// A chat: texts of people between ids of the template. Special tokens in the texts stay text.
#include "base/utf8.h"
#include "text/tokenizer_parts.h"
#include "unicode/unicode.h"

namespace edge {

// Blanks that a neighbouring token takes.
static std::string_view stripped(std::string_view text, bool left, bool right) {
  const auto space = [](std::string_view c) {
    size_t place = 0;
    return class_of(static_cast<uint32_t>(next_code_point(c, &place))) & kSpace;
  };
  while (left && !text.empty() && space(text)) {
    size_t place = 0;
    next_code_point(text, &place);
    text.remove_prefix(place);
  }
  while (right && !text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && (text[start] & 0xc0) == 0x80) start--;
    if (!space(text.substr(start))) break;
    text = text.substr(0, start);
  }
  return text;
}

// A template's token beside a message's text must be what the whole chat, encoded at once, has.
static Status check_beside(const Added* token, const Nfc* nfc, std::string_view text, bool before) {
  if (!token || text.empty()) return {};
  size_t place = before ? text.size() - 1 : 0;
  while (before && place > 0 && (text[place] & 0xc0) == 0x80) place--;
  const uint8_t bits = class_of(static_cast<uint32_t>(next_code_point(text, &place)));
  const bool joins = token->normalized && nfc && !before &&
                     nfc->normalized(token->content + std::string(text)) !=
                         nfc->normalized(token->content) + nfc->normalized(text);
  if (!joins && !(token->single_word && (bits & kWord))) return {};
  return fail(
      BITNET_EDGE_UNSUPPORTED,
      "the tokenizer does not tell the template's token %s from the text beside it, expected "
      "it to be one token",
      quoted(token->content).c_str());
}

Status Tokenizer::encode_pieces(const std::vector<Piece>& pieces, std::vector<int32_t>* ids) const {
  ids->clear();
  std::vector<int32_t> line, inside;
  if (parts_->words.adds_blank()) parts_->encode("\n", false, &line);
  for (size_t i = 0; i < pieces.size();) {
    if (pieces[i].is_ids) {
      ids->insert(ids->end(), pieces[i].ids.begin(), pieces[i].ids.end());
      i++;
      continue;
    }
    std::string text;
    for (; i < pieces.size() && (!pieces[i].is_ids || pieces[i].ids.empty()); i++) {
      text += pieces[i].text;
    }
    if (!is_utf8(text)) {
      return fail(BITNET_EDGE_ARGUMENT, "the text cannot be encoded, expected valid UTF-8");
    }
    const Added* left = ids->empty() ? nullptr : parts_->added.get(ids->back());
    const Added* right = i < pieces.size() ? parts_->added.get(pieces[i].ids.front()) : nullptr;
    Status status = check_beside(left, parts_->nfc.get(), text, false);
    if (status.ok()) status = check_beside(right, parts_->nfc.get(), text, true);
    if (!status.ok()) return status;
    const std::string_view kept = stripped(text, left && left->rstrip, right && right->lstrip);
    // Behind an answer's ids no blank is put in, as in the middle of a text.
    inside.clear();
    if (!line.empty() && !ids->empty() && !left) {
      parts_->encode("\n" + std::string(kept), false, &inside);
      if (inside.size() >= line.size() && std::equal(line.begin(), line.end(), inside.begin())) {
        ids->insert(ids->end(), inside.begin() + static_cast<ptrdiff_t>(line.size()), inside.end());
        continue;
      }
    }
    parts_->encode(kept, false, ids);
  }
  return {};
}

}  // namespace edge
