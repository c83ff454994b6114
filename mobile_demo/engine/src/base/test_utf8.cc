#include "base/status.h"
#include "base/utf8.h"
#include "testing/check.h"

using namespace edge;

static void test_every_code_point() {
  for (uint32_t c = 0; c < 0x110000; c++) {
    CASE("U+%04X", c);
    if (c >= 0xd800 && c < 0xe000) continue;
    std::string text;
    append_code_point(&text, c);
    size_t place = 0;
    CHECK(next_code_point(text, &place) == static_cast<int32_t>(c) && place == text.size());
    CHECK(is_utf8(text));
  }
}

static void test_lossy() {
  struct {
    std::string_view bytes, text;
  } kCases[] = {{"", ""},
                {"a\xff", "a\uFFFD"},
                {"\xe2\x82", "\uFFFD"},
                {"\xe2\x82x", "\uFFFDx"},
                {"\xf0\x9f\x98\x80\xf0\x9f", "😀\uFFFD"},
                {"\xc0\xaf", "\uFFFD\uFFFD"},
                {"\xed\xa0\x80", "\uFFFD\uFFFD\uFFFD"},
                {"\xf4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
                {"\xe0\x80\x80", "\uFFFD\uFFFD\uFFFD"},
                {"\x80\xe2\x82\xac", "\uFFFD€"}};
  for (const auto& c : kCases) CHECK(lossy(c.bytes) == c.text);
  CHECK(lossy(std::string_view("\0", 1)) == std::string_view("\0", 1));
}

static void test_sentences() {
  CHECK(quoted("a\"\n\xff") == "\"a\\\"\\x0a\\xff\"");
  CHECK(quoted(std::string(5000, 'a')).size() < 200);
  std::string name;
  while (name.size() < 3000) name += "€";
  const Status status = fail(BITNET_EDGE_ARTIFACT, "a%s", name.c_str());
  CHECK(is_utf8(status.sentence) && status.sentence.size() > 1000);
  CHECK(status.sentence.size() < sizeof bitnet_edge_error::sentence);
}

int main() {
  test_every_code_point();
  test_lossy();
  test_sentences();
  return failures != 0;
}
