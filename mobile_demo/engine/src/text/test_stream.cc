#include "testing/check.h"
#include "testing/folder.h"
#include "text/stream.h"

using namespace edge;
using Strings = std::vector<std::string>;

static std::unique_ptr<Tokenizer> opened() {
  TokenizerJson json;
  json.added = added_token(256, "<eos>", "s") + "," + added_token(257, "<think>", "s") + "," +
               added_token(258, "<b>", "");
  Folder folder;
  folder.write("tokenizer.json", json.text());
  folder.write("tokenizer_config.json", "{}");
  std::unique_ptr<Tokenizer> tokenizer;
  const Status status = Tokenizer::open(folder.path(), &tokenizer);
  if (!status.ok()) {
    fprintf(stderr, "%s\n", status.sentence.c_str());
    exit(1);
  }
  return tokenizer;
}

// The pieces with | behind each, then what finish gives.
static std::string streamed(const Tokenizer& tokenizer, std::string_view bytes,
                            const Strings& stop = {}) {
  AnswerText answer(tokenizer, stop);
  std::string out;
  for (const char byte : bytes) {
    out += answer.add(static_cast<uint8_t>(byte)) + "|";
    if (answer.stopped()) return out + "#" + answer.finish();
  }
  return out + answer.finish();
}

static void test_characters(const Tokenizer& t) {
  CHECK(streamed(t, "ab") == "a|b|");
  CHECK(streamed(t, "\xe2\x82\xac!") == "||€|!|");
  CHECK(streamed(t, "\xe2\x82") == "||\uFFFD");
  CHECK(streamed(t, "\xff\xff\xff\xff\xff") == "|||\uFFFD|\uFFFD|\uFFFD\uFFFD\uFFFD" ||
        streamed(t, "\xffz") == "|\uFFFDz|");
  CHECK(streamed(t, "\xf0\x9f\x98\x80") == "|||😀|");
}

static void test_tokens(const Tokenizer& t) {
  StreamDecoder decoder(t);
  CHECK(decoder.add(256).empty());  // hidden
  CHECK(decoder.add(257) == "<think>");
  CHECK(decoder.add(258) == "<b>");
  CHECK(decoder.add(999).empty() && decoder.add(-1).empty());
  CHECK(decoder.finish().empty());
  CHECK(t.hidden(256) && !t.hidden(257) && t.special(257) && !t.special(258) && t.size() == 259);
}

static void test_stop_strings(const Tokenizer& t) {
  CHECK(streamed(t, "abcdef", {"cd"}) == "a|b|||#");
  CHECK(streamed(t, "abcxdef", {"cd"}) == "a|b||cx|d|e|f|");
  CHECK(streamed(t, "abc", {"cd"}) == "a|b||c");
  CHECK(streamed(t, "aab", {"aab", "ab"}) == "|||#");  // both end at once: the longer counts
  CHECK(streamed(t, "a€b", {"€"}) == "a||||#");
  AnswerText answer(t, {"<eos>"});  // looked for in what is not shown
  CHECK(answer.add('a') == "a" && answer.add(256).empty() && answer.stopped());
  AnswerText split(t, {"x<eos>y"});
  CHECK(split.add('x').empty() && split.add(256).empty() && split.add('z') == "xz");
}

int main() {
  const std::unique_ptr<Tokenizer> tokenizer = opened();
  test_characters(*tokenizer);
  test_tokens(*tokenizer);
  test_stop_strings(*tokenizer);
  return failures != 0;
}
