#include "testing/check.h"
#include "unicode/unicode.h"
#include "words/pattern.h"

using namespace edge;

static const char* kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
static const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
static const char* kDemo = R"(\d|[A-Z](?![a-z])| ?[A-Z]?[a-z]+| ?[^\sA-Za-z\d]+|\s+)";

// The matches with | between them; _ for a character that is in none.
static std::string split(const char* regex, std::string_view text) {
  Pattern pattern;
  const Status status = Pattern::read(regex, &pattern);
  if (!status.ok()) return status.sentence;
  const Characters characters = characters_of(text);
  const auto offset = [&](size_t i) {
    return i < characters.size() ? characters[i].offset : text.size();
  };
  std::string out;
  for (size_t at = 0; at < characters.size();) {
    const size_t end = pattern.match(characters, at, characters.size());
    if (!out.empty()) out += '|';
    if (end == Pattern::kNone) {
      out += '_';
      at++;
    } else {
      out.append(text.substr(offset(at), offset(end) - offset(at)));
      at = end;
    }
  }
  return out;
}

static void test_known_patterns() {
  CHECK(split(kGpt2, "I don't  know 1234!?\n\n x") == "I| don|'t| | know| 1234|!?|\n\n| x");
  CHECK(split(kGpt2, "'S'll  ") == "'|S|'ll|  ");
  CHECK(split(kLlama3, "I DON'T  know 1234!?\n\n x") == "I| DON|'T| | know| |123|4|!?\n\n| x");
  CHECK(split(kLlama3, "'\u017f a\u00e9\u4e16 \r\n\t\n  b") ==
        "'\u017f| a\u00e9\u4e16| \r\n\t\n| | b");
  CHECK(split(kLlama3, "e\u0301\u0661\u0662\u0663\u0664") == "e|\u0301|\u0661\u0662\u0663|\u0664");
  CHECK(split(kDemo, "Hello ABc 42\n\n ,.!") == "Hello| |A|Bc| |4|2|\n\n | ,.!" ||
        split(kDemo, "Hello ABc 42") == "Hello| |A|Bc| |4|2");
  CHECK(split("[0-9][0-9][0-9]", "a1234") == "_|123|_");
  CHECK(split("'(?i:[sdmt]|ll|ve|re)", "'S'lL'x") == "'S|'lL|_|_");
  CHECK(split(R"([^\s]+)", "a b\u3000c") == "a|_|b|_|c");
  CHECK(split(R"(a{2,3}|a)", "aaaaaa a") == "aaa|aaa|_|a");
}

static void test_refused() {
  for (const char* regex :
       {"",      "a||b",       "a*",      "(a)",         "(?=a)",     "(?<!a)",  "a++",
        "a+?",   "[",          "[]",      "[a",          "[a-",       "[z-a]",   "(?:a",
        "a)",    "(?:a)+",     R"(\w)",   R"(\p{Lu})",   R"(\p{L)",   R"([\S])", R"([^\P{L}])",
        "a{0}",  "a{2,1}",     "a{1000}", "a{",          ".",         "^a",      "a$",
        R"(\)",  "(?i:[a-z])", "(?i:st)", "(?i:\u00e9)", "x?(?:a|b)", "a+b+c+",  "[a&&b]",
        "[[a]]", "\xff"}) {
    CASE("%s", regex);
    Pattern pattern;
    CHECK(Pattern::read(regex, &pattern).code == BITNET_EDGE_UNSUPPORTED);
  }
  Pattern pattern;
  CHECK(Pattern::read(std::string(100000, '('), &pattern).code == BITNET_EDGE_UNSUPPORTED);
  CHECK(Pattern::read(std::string(3000, 'a'), &pattern).code == BITNET_EDGE_UNSUPPORTED);
}

static void test_long_runs() {
  const std::string blanks(200000, ' ');
  CHECK(split(kLlama3, blanks + "a").size() == blanks.size() + 2);
  CHECK(split(kGpt2, blanks) == blanks);
}

static void test_classes() {
  CHECK(class_of('a') == (kLetter | kWord));
  CHECK(class_of(' ') == kSpace && class_of(0xa0) == kSpace && class_of(0x3000) == kSpace);
  CHECK(class_of('7') == (kNumber | kDigit | kWord | kNumeric));
  CHECK(class_of(0xbd) == (kNumber | kNumeric));  // one half
  CHECK(class_of(0x301) == (kMark | kWord));
  CHECK(class_of(0x10ffff) == 0 && class_of(0x1f600) == 0);
}

static void test_nfc() {
  const Nfc nfc;
  CHECK(nfc.normalized("e\u0301 A\u030a\u0323") == "\u00e9 \u1ea0\u030a");
  CHECK(nfc.normalized("\u1100\u1161\u11a8\uac00\u11a8") == "\uac01\uac01");
  CHECK(nfc.normalized("\u212b\u2126\uf900") == "\u00c5\u03a9\u8c48");
  CHECK(nfc.normalized("\u0958") == "\u0915\u093c");              // not to be composed
  CHECK(nfc.normalized("q\u0307\u0323") == "q\u0323\u0307");      // put in order
  CHECK(nfc.normalized("\U0001d15e") == "\U0001d157\U0001d165");  // of another plane
  CHECK(nfc.normalized("plain \u00e9") == "plain \u00e9");
  std::string marks = "a";
  for (int i = 0; i < 50000; i++) marks += i % 2 ? "\u0301" : "\u0323";
  CHECK(nfc.normalized(marks).compare(0, 5, "\u1ea1\u0323") == 0);
}

int main() {
  test_known_patterns();
  test_refused();
  test_long_runs();
  test_classes();
  test_nfc();
  return failures != 0;
}
