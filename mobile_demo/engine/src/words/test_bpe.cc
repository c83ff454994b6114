#include "testing/check.h"
#include "testing/folder.h"
#include "words/bpe.h"

using namespace edge;
using Ids = std::vector<int32_t>;
using Merges = std::vector<std::pair<std::string, std::string>>;

static Ids encoded(const std::string& model, std::string_view word) {
  Json json;
  Bpe bpe;
  Ids ids;
  Status status = parse(model, "model", &json);
  if (status.ok()) status = bpe.read(json.root(), false);
  if (!status.ok()) fprintf(stderr, "%s\n", status.sentence.c_str());
  CHECK(status.ok());
  if (status.ok()) bpe.encode(word, &ids);
  return ids;
}

static std::string with(const std::string& model, const std::string& option) {
  return "{" + option + "," + model.substr(1);
}

static bool refused(const std::string& model, bitnet_edge_code code) {
  CASE("%s", model.substr(0, 200).c_str());
  Json json;
  Bpe bpe;
  CHECK(parse(model, "model", &json).ok());
  return bpe.read(json.root(), false).code == code;
}

static void test_bytes() {
  for (int byte = 0; byte < 256; byte++) {
    const uint32_t c = character_of_byte(static_cast<uint8_t>(byte));
    CHECK(byte_of_character(c) == byte);
  }
  CHECK(character_of_byte(' ') == 0x120 && character_of_byte('\n') == 0x10a);
  CHECK(byte_of_character(' ') == -1 && byte_of_character(0x144) == -1);
  CHECK(encoded(byte_level_model({}), std::string_view("a\0\xff", 3)) == Ids({97, 0, 255}));
}

static void test_merges() {
  const Merges merges = {{"t", "h"}, {"th", "e"}, {"h", "e"}, {"a", "a"}, {"aa", "a"}};
  const std::string model = byte_level_model(merges);
  CHECK(encoded(model, "the") == Ids({257}));
  CHECK(encoded(model, "hehet") == Ids({258, 258, 't'}));
  CHECK(encoded(model, "aaaaa") == Ids({259, 260}));  // the leftmost first
  CHECK(encoded(model, "") == Ids());
  // A later merge of two tokens counts more than an earlier one.
  const std::string whole = byte_level_model({{"b", "c"}, {"a", "b"}, {"a", "bc"}});
  CHECK(encoded(whole, "abc") == Ids({258}));
  CHECK(encoded(whole, "ab") == Ids({257}));
}

static void test_whole_words() {
  std::string model = byte_level_model({{"a", "b"}, {"b", "c"}, {"a", "bc"}});
  CHECK(encoded(model, "abc") == Ids({256, 'c'}));
  CHECK(encoded(with(model, "\"ignore_merges\":true"), "abc") == Ids({258}));
  CHECK(encoded(with(model, "\"ignore_merges\":true"), "abcc") == Ids({256, 'c', 'c'}));
}

static void test_long_word() {
  Merges merges;
  std::string piece = "a";
  for (int i = 0; i < 10; i++, piece += piece) merges.push_back({piece, piece});
  const std::string word(1 << 17, 'a');
  CHECK(encoded(byte_level_model(merges), word).size() == word.size() >> 10);
}

static void test_refused() {
  const std::string model = byte_level_model({});
  CHECK(refused("{}", BITNET_EDGE_ARTIFACT));
  CHECK(refused(R"({"vocab":[],"merges":[]})", BITNET_EDGE_ARTIFACT));
  CHECK(refused(R"({"vocab":{"a":-1},"merges":[]})", BITNET_EDGE_ARTIFACT));
  CHECK(refused(R"({"vocab":{"a":1.5},"merges":[]})", BITNET_EDGE_ARTIFACT));
  CHECK(refused(R"({"vocab":{"a":99999999},"merges":[]})", BITNET_EDGE_ARTIFACT));
  CHECK(refused(R"({"vocab":{"a":1,"b":1},"merges":[]})", BITNET_EDGE_ARTIFACT));
  for (const char* merge :
       {"\"a b\"", "\"a\"", "\"a \"", "1", "[\"a\"]", "[\"a\",1]", "\"a b c\""}) {
    CHECK(refused(R"({"vocab":{"a":0,"b":1},"merges":[)" + std::string(merge) + "]}",
                  BITNET_EDGE_ARTIFACT));
  }
  CHECK(refused(with(model, "\"surprise\":1"), BITNET_EDGE_UNSUPPORTED));
  CHECK(refused(with(model, "\"end_of_word_suffix\":\"</w>\""), BITNET_EDGE_UNSUPPORTED));
  CHECK(refused(with(model, "\"continuing_subword_prefix\":\"##\""), BITNET_EDGE_UNSUPPORTED));
  CHECK(refused(R"({"vocab":{"a":0},"merges":[],"unk_token":"a"})", BITNET_EDGE_UNSUPPORTED));
  CHECK(refused(R"({"vocab":{"a":0},"merges":[],"byte_fallback":true})", BITNET_EDGE_UNSUPPORTED));
}

int main() {
  test_bytes();
  test_merges();
  test_whole_words();
  test_long_word();
  test_refused();
  return failures != 0;
}
