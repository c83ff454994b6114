#include "text/stream.h"

#include <algorithm>

#include "base/utf8.h"

namespace edge {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";
// An incomplete character is at most 3 bytes, hence at most 3 replacement characters.
constexpr size_t kHeld = 3;

static size_t count_of(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

// The characters from `begin` to `end`, which may be before it.
static std::string between(std::string_view text, size_t begin, size_t end) {
  std::string out;
  size_t character = 0;
  for (size_t place = 0; place < text.size() && character < end; character++) {
    const size_t start = place;
    next_code_point(text, &place);
    if (character >= begin) out.append(text.substr(start, place - start));
  }
  return out;
}

std::string StreamDecoder::add(int32_t id) {
  if (tokenizer_.hidden(id) || !tokenizer_.knows(id)) return "";
  window_ += tokenizer_.bytes(id);
  const std::string text = lossy(window_);
  const size_t count = count_of(text);
  size_t whole = count;
  for (size_t end = text.size(); end >= kReplacement.size(); end -= kReplacement.size(), whole--) {
    if (text.compare(end - kReplacement.size(), kReplacement.size(), kReplacement) != 0) break;
  }
  const size_t end = std::max(whole, count < kHeld ? 0 : count - kHeld);
  const std::string piece = between(text, emitted_, end);
  emitted_ = std::max(emitted_, end);
  if (count && whole == count) {
    window_.clear();
    emitted_ = 0;
  }
  return piece;
}

std::string StreamDecoder::finish() {
  const std::string text = lossy(window_);
  const std::string piece = between(text, emitted_, text.size());
  window_.clear();
  emitted_ = 0;
  return piece;
}

// How many bytes at the end of a text begin a string that the text lacks.
static size_t overlap(std::string_view text, std::string_view string) {
  for (size_t n = std::min(text.size(), string.size() - 1); n > 0; n--) {
    if (text.substr(text.size() - n) == string.substr(0, n)) return n;
  }
  return 0;
}

std::string StopStrings::add(std::string_view piece) {
  if (found_) return "";
  std::string text = held_;
  text.append(piece);
  size_t first_end = text.size() + 1, start = 0, held = 0;
  for (const std::string& string : strings_) {
    const size_t at = text.find(string);
    if (at == std::string::npos) {
      held = std::max(held, overlap(text, string));
    } else if (at + string.size() < first_end || (at + string.size() == first_end && at < start)) {
      first_end = at + string.size();
      start = at;
    }
  }
  if (first_end <= text.size()) {
    found_ = true;
    held_.clear();
    return text.substr(0, start);
  }
  held_ = text.substr(text.size() - held);
  return text.substr(0, text.size() - held);
}

std::string StopStrings::finish() {
  std::string held;
  held.swap(held_);
  return held;
}

std::string AnswerText::add(int32_t id) {
  if (!tokenizer_.hidden(id)) return shown(decoder_.add(id), true);
  return shown(tokenizer_.decode(&id, 1, false), false);
}

std::string AnswerText::finish() {
  std::string text = shown(decoder_.finish(), true);
  return text + certain(stop_.finish().size());
}

std::string AnswerText::shown(std::string text, bool visible) {
  const size_t count = stop_.add(text).size();
  waiting_.push_back({std::move(text), visible});
  return certain(count);
}

// What is visible of the next bytes that wait.
std::string AnswerText::certain(size_t bytes) {
  std::string out;
  size_t done = 0;
  for (; bytes > 0 && done < waiting_.size(); done++) {
    Waiting& next = waiting_[done];
    const size_t taken = std::min(bytes, next.text.size());
    if (next.visible) out.append(next.text, 0, taken);
    bytes -= taken;
    if (taken < next.text.size()) {
      next.text.erase(0, taken);
      break;
    }
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(done));
  return out;
}

}  // namespace edge
