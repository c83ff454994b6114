#include "testing/check.h"
#include "testing/folder.h"
#include "text/tokenizer.h"

using namespace edge;
using Ids = std::vector<int32_t>;

static Status open_in(const std::string& json, const std::string& config,
                      std::unique_ptr<Tokenizer>* out) {
  Folder folder;
  folder.write("tokenizer.json", json);
  folder.write("tokenizer_config.json", config);
  return Tokenizer::open(folder.path(), out);
}

static Ids encoded(const TokenizerJson& json, std::string_view text, bool special,
                   const std::string& config = "{}") {
  std::unique_ptr<Tokenizer> tokenizer;
  Ids ids;
  const Status status = open_in(json.text(), config, &tokenizer);
  if (!status.ok()) fprintf(stderr, "%s\n", status.sentence.c_str());
  CHECK(status.ok());
  if (tokenizer) CHECK(tokenizer->encode(text, special, &ids).ok());
  return ids;
}

static void test_special_tokens() {
  TokenizerJson json;
  json.added = added_token(256, "<s>", "s") + "," + added_token(257, "<x>", "") + "," +
               added_token(258, "<l>", "ls") + "," + added_token(259, "ww", "ws");
  CHECK(encoded(json, "<s>a<x>", true) == Ids({256, 'a', 257}));
  CHECK(encoded(json, "<s>a<x>", false) == Ids({'<', 's', '>', 'a', 257}));
  CHECK(encoded(json, "a  <l> b", true) == Ids({'a', 258, ' ', 'b'}));
  CHECK(encoded(json, "ww vww ww", true) == Ids({259, ' ', 'v', 'w', 'w', ' ', 259}));
  CHECK(encoded(json, "<s>", true, R"({"split_special_tokens":true})") == Ids({'<', 's', '>'}));
  json.post_processor =
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},)"
      R"({"Sequence":{"id":"A","type_id":0}}],"pair":[],)"
      R"("special_tokens":{"<s>":{"id":"<s>","ids":[256],"tokens":["<s>"]}}})";
  CHECK(encoded(json, "<s>a", true) == Ids({256, 'a'}));  // once
  CHECK(encoded(json, "", true) == Ids({256}));
  CHECK(encoded(json, "a", false) == Ids({'a'}));
}

static void test_pieces() {
  TokenizerJson json;
  json.model = byte_level_model({{"a", "b"}});
  json.added = added_token(257, "<s>", "s") + "," + added_token(258, "<r>", "rs");
  std::unique_ptr<Tokenizer> t;
  CHECK(open_in(json.text(), "{}", &t).ok());
  Ids ids;
  CHECK(t->encode_pieces({{"", {257}, true},
                          {"a", {}, false},
                          {"b<s>", {}, false},
                          {"", {258}, true},
                          {"  c", {}, false}},
                         &ids)
            .ok());
  CHECK(ids == Ids({257, 256, '<', 's', '>', 258, 'c'}));
  CHECK(t->encode_pieces({}, &ids).ok() && ids.empty());
  CHECK(t->encode_pieces({{"\xff", {}, false}}, &ids).code == BITNET_EDGE_ARGUMENT);
  CHECK(t->encode("\xff", true, &ids).code == BITNET_EDGE_ARGUMENT);
}

static bool refused(const TokenizerJson& json, bitnet_edge_code code, const char* says,
                    const std::string& config = "{}") {
  std::unique_ptr<Tokenizer> tokenizer;
  const Status status = open_in(json.text(), config, &tokenizer);
  CASE("%s", status.sentence.c_str());
  CHECK(status.code == code && !tokenizer);
  return status.sentence.find(says) != std::string::npos;
}

static void test_refused() {
  const auto changed = [](std::string TokenizerJson::* part, const char* value) {
    TokenizerJson json;
    json.*part = value;
    return json;
  };
  const auto unsupported = BITNET_EDGE_UNSUPPORTED;
  using J = TokenizerJson;
  CHECK(refused(changed(&J::normalizer, R"({"type":"Lowercase"})"), unsupported, "Lowercase"));
  CHECK(refused(changed(&J::normalizer, R"({"type":"NFC","x":1})"), unsupported, "\"x\""));
  CHECK(refused(changed(&J::pre_tokenizer, "null"), unsupported, "null"));
  CHECK(refused(changed(&J::pre_tokenizer, R"({"type":"Metaspace"})"), unsupported, "Metaspace"));
  CHECK(refused(changed(&J::pre_tokenizer, split_by("\\\\w+").c_str()), unsupported, "\\\\w+"));
  CHECK(refused(changed(&J::decoder, R"({"type":"Fuse"})"), unsupported, "Fuse"));
  CHECK(refused(changed(&J::post_processor, R"({"type":"BertProcessing"})"), unsupported, "Bert"));
  CHECK(refused(changed(&J::model, R"({"type":"Unigram"})"), unsupported, "Unigram"));
  CHECK(refused(changed(&J::added, "{}"), BITNET_EDGE_ARTIFACT, "ids"));
  CHECK(refused(changed(&J::added, added_token(300, "<s>", "s").c_str()), BITNET_EDGE_ARTIFACT,
                "300"));
  CHECK(refused({}, unsupported, "SentencePiece", R"({"tokenizer_class":"GemmaTokenizer"})"));
  CHECK(refused({}, unsupported, "Bert", R"({"tokenizer_class":"BertTokenizer"})"));
  CHECK(refused({}, BITNET_EDGE_ARTIFACT, "tokenizer_class", R"({"tokenizer_class":7})"));
  CHECK(refused({}, BITNET_EDGE_ARTIFACT, "<none>", R"({"eos_token":"<none>"})"));
  CHECK(refused({}, BITNET_EDGE_ARTIFACT, "special token", R"({"eos_token":7})"));
  std::unique_ptr<Tokenizer> tokenizer;
  CHECK(Tokenizer::open("/nowhere", &tokenizer).code == BITNET_EDGE_ARTIFACT);
  CHECK(open_in("[]", "{}", &tokenizer).code != BITNET_EDGE_OK);
  CHECK(open_in(TokenizerJson().text(), "[]", &tokenizer).code == BITNET_EDGE_ARTIFACT);
}

int main() {
  test_special_tokens();
  test_pieces();
  test_refused();
  return failures != 0;
}
