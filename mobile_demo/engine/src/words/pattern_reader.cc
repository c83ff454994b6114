// Reads a regular expression into alternatives of items.
#include "base/utf8.h"
#include "unicode/unicode.h"
#include "words/pattern.h"

namespace edge {

constexpr size_t kMaxPattern = 4096;  // bytes
constexpr size_t kMaxAlternatives = 64, kMaxItems = 12, kMaxUnbounded = 2, kMaxCount = 64;
constexpr size_t kUnbounded = static_cast<size_t>(-1);

class PatternReader {
 public:
  using Sequence = Pattern::Sequence;
  explicit PatternReader(std::string_view regex) : text_(regex) {}

  Status read(std::vector<Sequence>* out) {
    const bool good = text_.size() <= kMaxPattern && is_utf8(text_)
                          ? alternatives(false, false, out)
                          : wrong("its form");
    if (good && place_ != text_.size()) wrong(")");
    if (good && !why_) check(*out);
    if (!why_) return {};
    return fail(BITNET_EDGE_UNSUPPORTED,
                "the pre_tokenizer of tokenizer.json cuts text by the pattern %s, of which this "
                "engine does not know %s (at byte %zu), expected one like GPT-2's, LLaMA 3's or "
                "Qwen's",
                quoted(text_).c_str(), why_, place_);
  }

 private:
  bool wrong(const char* why) {
    if (!why_) why_ = why;
    return false;
  }
  bool ends() const { return place_ >= text_.size(); }
  char peek() const { return ends() ? '\0' : text_[place_]; }
  bool take(std::string_view token) {
    if (text_.substr(place_, token.size()) != token) return false;
    place_ += token.size();
    return true;
  }

  // What a match must not be: empty, or found by trying too many ways.
  void check(const std::vector<Sequence>& alternatives) {
    for (const Sequence& items : alternatives) {
      size_t least = 0, unbounded = 0;
      for (const Pattern::Item& item : items) {
        least += item.lookahead ? 0 : item.least;
        unbounded += !item.lookahead && item.most == kUnbounded;
      }
      if (least == 0) wrong("an empty match");
      if (unbounded > kMaxUnbounded || items.size() > kMaxItems) wrong("a part so long");
    }
    if (alternatives.size() > kMaxAlternatives) wrong("so many alternatives");
  }

  // Up to the end, or to the ) of a group.
  bool alternatives(bool inside, bool folded, std::vector<Sequence>* out) {
    do {
      std::vector<Sequence> sequences(1);
      while (!ends() && peek() != '|' && peek() != ')') {
        if (!part(inside, folded, &sequences)) return false;
      }
      if (sequences[0].empty()) return wrong("an empty alternative");
      for (Sequence& items : sequences) out->push_back(std::move(items));
      if (out->size() > kMaxAlternatives) return wrong("so many alternatives");
    } while (take("|"));
    return true;
  }

  // An item behind each of the sequences; a group puts each of its alternatives there.
  bool part(bool inside, bool folded, std::vector<Sequence>* sequences) {
    if (take("(?!")) return lookahead(sequences);
    const bool folds = take("(?i:");
    if (folds || take("(?:")) {
      if (inside) return wrong("a group in a group");
      return group(folded || folds, sequences);
    }
    if (peek() == '(') return wrong("this kind of group");
    Pattern::Item item;
    if (!set(folded, &item.set) || !count(&item)) return false;
    for (Sequence& items : *sequences) {
      // Two letters can be one character in another case: the st of a ligature.
      if (folded && !items.empty() && letter(items.back().set) && letter(item.set) &&
          folds_together(items.back().set, item.set)) {
        return wrong("these letters in any case");
      }
      if (items.size() > kMaxItems) return wrong("a part so long");
      items.push_back(item);
    }
    return true;
  }

  bool lookahead(std::vector<Sequence>* sequences) {
    Pattern::Item item;
    item.lookahead = true;
    if (!set(false, &item.set)) return false;
    if (!take(")")) return wrong("a lookahead of more than one character");
    for (Sequence& items : *sequences) items.push_back(item);
    return true;
  }

  bool group(bool folded, std::vector<Sequence>* sequences) {
    std::vector<Sequence> inner, joined;
    if (!alternatives(true, folded, &inner)) return false;
    if (!take(")")) return wrong("a group that does not end");
    if (counted()) return wrong("a group that repeats");
    for (const Sequence& before : *sequences) {
      for (const Pattern::Item& item : before) {
        // Else the order in which a regular expression tries is another one.
        if (item.least != item.most) return wrong("a group after a part that varies");
      }
      for (const Sequence& items : inner) {
        joined.push_back(before);
        joined.back().insert(joined.back().end(), items.begin(), items.end());
      }
    }
    *sequences = std::move(joined);
    return sequences->size() <= kMaxAlternatives || wrong("so many alternatives");
  }

  bool counted() const { return peek() == '?' || peek() == '*' || peek() == '+' || peek() == '{'; }

  bool count(Pattern::Item* item) {
    if (take("?")) {
      item->least = 0;
    } else if (take("*")) {
      item->least = 0;
      item->most = kUnbounded;
    } else if (take("+")) {
      item->most = kUnbounded;
    } else if (take("{")) {
      if (!number(&item->least)) return false;
      item->most = item->least;
      if (take(",") && !number(&item->most)) return false;
      if (!take("}") || item->most < item->least || item->most == 0) return wrong("this count");
    }
    return !counted() || wrong("a lazy or possessive count");
  }

  bool number(size_t* value) {
    if (!(peek() >= '0' && peek() <= '9')) return wrong("this count");
    for (*value = 0; peek() >= '0' && peek() <= '9'; place_++) {
      *value = *value * 10 + static_cast<size_t>(peek() - '0');
      if (*value > kMaxCount) return wrong("a count so large");
    }
    return true;
  }

  bool set(bool folded, Set* out) {
    if (take("[")) return brackets(out) && (!folded || fold(out));
    if (peek() == '\\') return escape(true, out);
    constexpr std::string_view kSpecial = ".^$*+?{}()|[]";
    if (ends() || kSpecial.find(peek()) != std::string_view::npos) return wrong("this sign");
    uint32_t c = next();
    if (folded && c >= 0x80) return wrong("this letter in any case");
    out->ranges.push_back({c, c});
    if (folded) add_other_case(c, out);
    return true;
  }

  bool fold(Set* out) {
    const std::vector<std::pair<uint32_t, uint32_t>> written = out->ranges;
    for (const auto& range : written) {
      if (range.first != range.second || range.first >= 0x80) return wrong("a range in any case");
      add_other_case(range.first, out);
    }
    return (!out->bits && !out->negated) || wrong("a class in any case");
  }

  uint32_t next() { return static_cast<uint32_t>(next_code_point(text_, &place_)); }

  static void add_other_case(uint32_t c, Set* out) {
    const uint32_t lower = c | 0x20;
    if (lower < 'a' || lower > 'z') return;
    out->ranges.push_back({c ^ 0x20, c ^ 0x20});
    if (lower == 's') out->ranges.push_back({0x17f, 0x17f});    // the long s
    if (lower == 'k') out->ranges.push_back({0x212a, 0x212a});  // the sign of kelvin
  }

  static bool letter(const Set& set) {
    const uint32_t c = set.ranges.empty() ? 0 : set.ranges[0].first | 0x20;
    return c >= 'a' && c <= 'z';
  }
  static bool folds_together(const Set& a, const Set& b) {
    const uint32_t x = a.ranges[0].first | 0x20, y = b.ranges[0].first | 0x20;
    return (x == 's' && (y == 's' || y == 't')) || (x == 'f' && (y == 'f' || y == 'i' || y == 'l'));
  }

  bool brackets(Set* out) {
    out->negated = take("^");
    if (peek() == ']') return wrong("an empty set");
    while (!take("]")) {
      if (ends()) return wrong("a set that does not end");
      if (peek() == '[' || text_.substr(place_, 2) == "&&") return wrong("a set in a set");
      if (peek() == '\\') {
        const size_t before = out->ranges.size();
        if (!escape(false, out)) return false;
        if (peek() == '-' && out->ranges.size() == before) return wrong("this range");
        if (peek() != '-') continue;
      } else {
        const uint32_t c = next();
        out->ranges.push_back({c, c});
      }
      if (peek() != '-') continue;
      place_++;
      if (peek() == ']') {  // a hyphen at the end
        out->ranges.push_back({'-', '-'});
      } else if (ends() || peek() == '\\' || peek() == '[') {
        return wrong("this range");
      } else {
        out->ranges.back().second = next();
        if (out->ranges.back().second < out->ranges.back().first) return wrong("this range");
      }
    }
    return true;
  }

  // alone: not between brackets, where the negated classes are not known.
  bool escape(bool alone, Set* out) {
    struct Class {
      std::string_view name;
      uint8_t bits;
      bool negated;
    };
    constexpr Class kClasses[] = {{"\\p{L}", kLetter, false}, {"\\p{N}", kNumber, false},
                                  {"\\p{M}", kMark, false},   {"\\P{L}", kLetter, true},
                                  {"\\P{N}", kNumber, true},  {"\\P{M}", kMark, true},
                                  {"\\s", kSpace, false},     {"\\S", kSpace, true},
                                  {"\\d", kDigit, false},     {"\\D", kDigit, true}};
    for (const Class& known : kClasses) {
      if (text_.substr(place_, known.name.size()) != known.name) continue;
      if (known.negated && !alone) return wrong("a negated class in a set");
      place_ += known.name.size();
      out->bits |= known.bits;
      out->negated = out->negated || known.negated;
      return true;
    }
    constexpr std::string_view kFrom = "rnt", kTo = "\r\n\t";
    constexpr std::string_view kItself = "^$.*+?{}()|[]\\/-'`~!@#%&=<>:;\",_ ";
    if (place_ + 1 >= text_.size()) return wrong("its end");
    const char c = text_[place_ + 1];
    const size_t i = kFrom.find(c);
    if (i == std::string_view::npos && kItself.find(c) == std::string_view::npos) {
      return wrong("this escape");
    }
    place_ += 2;
    const uint32_t meant = static_cast<unsigned char>(i == std::string_view::npos ? c : kTo[i]);
    out->ranges.push_back({meant, meant});
    return true;
  }

  std::string_view text_;
  size_t place_ = 0;
  const char* why_ = nullptr;
};

Status Pattern::read(std::string_view regex, Pattern* out) {
  out->alternatives_.clear();
  return PatternReader(regex).read(&out->alternatives_);
}

}  // namespace edge
