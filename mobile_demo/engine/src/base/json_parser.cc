#include <string.h>

#include "base/json.h"
#include "base/number.h"
#include "base/utf8.h"

namespace edge {

class JsonParser {
 public:
  JsonParser(std::string_view text, Json* json) : text_(text), json_(json) {}

  Status parse(const char* name) {
    if (text_.size() > Json::kMaxBytes) {
      return fail(BITNET_EDGE_ARTIFACT, "%s has %zu bytes, expected at most %zu", name,
                  text_.size(), Json::kMaxBytes);
    }
    json_->values_.clear();
    json_->texts_.reset(new char[text_.size() + 1]);
    free_ = json_->texts_.get();
    blanks();
    bool good = value(0);
    blanks();
    if (good && place_ != text_.size()) good = wrong("more text", "the end");
    if (good) return {};
    size_t line = 1, column = 1;
    for (size_t i = 0; i < place_ && i < text_.size(); i++) {
      if (text_[i] == '\n') {
        line++;
        column = 1;
      } else if ((text_[i] & 0xc0) != 0x80) {
        column++;
      }
    }
    json_->values_.clear();
    return fail(BITNET_EDGE_ARTIFACT, "%s has %s at line %zu, column %zu, expected %s", name,
                found_.c_str(), line, column, expected_);
  }

 private:
  bool wrong(std::string found, const char* expected) {
    found_ = std::move(found);
    expected_ = expected;
    return false;
  }
  char peek() const { return place_ < text_.size() ? text_[place_] : '\0'; }
  bool take(char c) {
    if (place_ >= text_.size() || text_[place_] != c) return false;
    place_++;
    return true;
  }
  bool take_word(std::string_view word) {
    if (text_.substr(place_, word.size()) != word) return false;
    place_ += word.size();
    return true;
  }
  void blanks() {
    while (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t') place_++;
  }
  // The value that begins here; -1: too many.
  ptrdiff_t add(Value::Kind kind) {
    if (json_->values_.size() >= Json::kMaxValues) return -1;
    json_->values_.emplace_back();
    json_->values_.back().kind_ = kind;
    return static_cast<ptrdiff_t>(json_->values_.size()) - 1;
  }
  Value& at(ptrdiff_t i) { return json_->values_[static_cast<size_t>(i)]; }

  bool value(int depth) {
    if (depth == Json::kMaxDepth && (peek() == '{' || peek() == '[')) {
      return wrong("more than 64 levels", "fewer");
    }
    switch (peek()) {
      case '{':
        return members(depth);
      case '[':
        return items(depth);
      case '"':
        return string();
      case 't':
        return word("true", Value::kTrue);
      case 'f':
        return word("false", Value::kFalse);
      case 'n':
        return word("null", Value::kNull);
      default:
        return number();
    }
  }
  bool word(std::string_view name, Value::Kind kind) {
    if (!take_word(name)) return wrong("an unknown word", "a JSON value");
    return add(kind) >= 0 || full();
  }
  bool full() { return wrong("too many values", "at most 8 million"); }

  bool close(ptrdiff_t self, size_t count) {
    at(self).children_.count = static_cast<uint32_t>(count);
    at(self).children_.span =
        static_cast<uint32_t>(json_->values_.size() - static_cast<size_t>(self) - 1);
    return true;
  }

  bool items(int depth) {
    const ptrdiff_t self = add(Value::kArray);
    if (self < 0) return full();
    place_++;
    blanks();
    size_t count = 0;
    if (take(']')) return close(self, count);
    for (;;) {
      blanks();
      if (!value(depth + 1)) return false;
      count++;
      blanks();
      if (take(']')) return close(self, count);
      if (!take(',')) return wrong(here(), "a comma or ]");
    }
  }

  bool members(int depth) {
    const ptrdiff_t self = add(Value::kObject);
    if (self < 0) return full();
    place_++;
    blanks();
    size_t count = 0;
    if (take('}')) return close(self, count);
    for (;;) {
      blanks();
      if (peek() != '"') return wrong(here(), "a key between quotation marks");
      if (!string()) return false;
      blanks();
      if (!take(':')) return wrong(here(), "a colon");
      blanks();
      if (!value(depth + 1)) return false;
      count++;
      blanks();
      if (take('}')) return close(self, count) && unique(at(self));
      if (!take(',')) return wrong(here(), "a comma or }");
    }
  }

  // Whether no key of the object comes twice.
  bool unique(const Value& object) {
    size_t room = 8;
    while (room < 2 * object.size()) room *= 2;
    std::vector<std::string_view> seen(room);
    for (Value::Iterator member = object.begin(); member != object.end(); ++member) {
      uint64_t hash = 0xcbf29ce484222325;
      for (const char c : member.key()) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
      }
      size_t slot = (hash ^ hash >> 29) & (room - 1);
      for (; seen[slot].data(); slot = (slot + 1) & (room - 1)) {
        if (seen[slot] == member.key()) {
          return wrong("the key " + quoted(member.key()) + " twice in the object that ends",
                       "each key once");
        }
      }
      seen[slot] = member.key();
    }
    return true;
  }

  std::string here() const {
    if (place_ >= text_.size()) return "its end";
    size_t end = place_;
    next_code_point(text_, &end);
    return quoted(text_.substr(place_, end - place_));
  }

  bool string() {
    const ptrdiff_t self = add(Value::kString);
    if (self < 0) return full();
    place_++;
    const char* start = free_;
    for (;;) {
      if (place_ >= text_.size()) return wrong("its end", "a closing quotation mark");
      const unsigned char c = static_cast<unsigned char>(text_[place_]);
      if (c == '"') break;
      if (c < 0x20) return wrong("a control character in a string", "an escape");
      if (c == '\\') {
        if (!escape()) return false;
      } else if (c < 0x80) {
        *free_++ = text_[place_++];
      } else {
        const size_t from = place_;
        size_t to = place_;
        if (next_code_point(text_, &to) < 0) return wrong("bytes that are no UTF-8", "UTF-8");
        memcpy(free_, text_.data() + from, to - from);
        free_ += to - from;
        place_ = to;
      }
    }
    place_++;
    at(self).text_.data = start;
    at(self).text_.size = static_cast<size_t>(free_ - start);
    return true;
  }

  bool hexadecimal(uint32_t* unit) {
    *unit = 0;
    for (int i = 0; i < 4; i++, place_++) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) return wrong(here(), "four hexadecimal digits");
      *unit = *unit * 16 + static_cast<uint32_t>(digit);
    }
    return true;
  }

  bool escape() {
    place_++;
    const char c = peek();
    constexpr std::string_view kFrom = "\"\\/bfnrt", kTo = "\"\\/\b\f\n\r\t";
    if (const size_t i = kFrom.find(c); place_ < text_.size() && i != std::string_view::npos) {
      *free_++ = kTo[i];
      place_++;
      return true;
    }
    if (c != 'u') return wrong("an unknown escape", "one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u");
    place_++;
    uint32_t unit, low;
    if (!hexadecimal(&unit)) return false;
    if (unit >= 0xd800 && unit < 0xe000) {
      const bool paired = unit < 0xdc00 && take('\\') && take('u');
      if (paired && !hexadecimal(&low)) return false;
      if (!paired || low < 0xdc00 || low >= 0xe000) {
        return wrong("half of a surrogate pair", "both halves");
      }
      unit = 0x10000 + (unit - 0xd800) * 0x400 + (low - 0xdc00);
    }
    std::string encoded;  // never longer than the escape
    append_code_point(&encoded, unit);
    memcpy(free_, encoded.data(), encoded.size());
    free_ += encoded.size();
    return true;
  }

  size_t digits() {
    const size_t start = place_;
    while (peek() >= '0' && peek() <= '9') place_++;
    return place_ - start;
  }

  bool number() {
    const size_t start = place_;
    take('-');
    if (!(peek() >= '0' && peek() <= '9')) return wrong(here(), "a JSON value");
    bool whole = true;
    if (!take('0')) digits();
    if (take('.')) {
      whole = false;
      if (!digits()) return wrong(here(), "a digit after the point");
    }
    if (peek() == 'e' || peek() == 'E') {
      whole = false;
      place_++;
      if (!take('+')) take('-');
      if (!digits()) return wrong(here(), "a digit of the exponent");
    }
    const ptrdiff_t self = add(Value::kNumber);
    if (self < 0) return full();
    const std::string_view written = text_.substr(start, place_ - start);
    at(self).number_.number = parse_double(written);
    at(self).number_.integer = 0;
    at(self).whole_ = whole && parse_integer(written, &at(self).number_.integer);
    return true;
  }

  std::string_view text_;
  Json* json_;
  size_t place_ = 0;
  char* free_ = nullptr;
  std::string found_;
  const char* expected_ = "";
};

Status parse(std::string_view text, const char* name, Json* out) {
  return JsonParser(text, out).parse(name);
}

}  // namespace edge
