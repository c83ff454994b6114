// A fuzz of what files and callers give the text part: JSON, tokenizer files and prompts. Each is
// refused in a sentence or does what its documentation says, and nothing crashes.
//     fuzz_text [rounds] [seed]
#include "base/utf8.h"
#include "testing/check.h"
#include "testing/damage.h"
#include "testing/folder.h"
#include "text/stream.h"
#include "text/tokenizer.h"
#include "unicode/unicode.h"

using namespace edge;

namespace {

using Ids = std::vector<int32_t>;

uint64_t damaged_and_opened;

const char* const kWords[] = {
    "\"type\"",
    "\"Sequence\"",
    "\"Split\"",
    "\"ByteLevel\"",
    "\"Digits\"",
    "\"NFC\"",
    "null",
    "true",
    "false",
    "{}",
    "[]",
    "{\"type\":\"NFC\"}",
    "-1",
    "1e999",
    "99999999999999999999",
    "256",
    "\"\"",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "[[[[[[[[",
    "\"Regex\"",
    "(?i:'s|'t)",
    "\\\\p{L}+",
    "\\\\s+(?!\\\\S)",
    "[^\\\\s]*",
    "{1,3}",
    "(?:",
    ")",
    "|",
    "+",
    "*",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\xff",
    "\xe2\x82",
    "\"Isolated\"",
    "\"Removed\"",
    "\"single\"",
    "\"special\"",
    "\"merges\"",
    "\"vocab\"",
    "\"a b\"",
    "\"id\"",
    "\"content\"",
    "\"ids\"",
    "\"lstrip\"",
    "\"rstrip\"",
    "\"single_word\"",
    "\"normalized\"",
    "\"invert\"",
    "\"add_prefix_space\"",
    "\"tokenizer_class\"",
    "\"Qwen2Tokenizer\"",
    "\"GPT2Tokenizer\"",
    "\"GPTNeoXTokenizerFast\"",
    "\"added_tokens_decoder\"",
    "\"eos_token\"",
    "\"extra_special_tokens\"",
    "\"split_special_tokens\"",
    "\"pad_token\"",
};
const char* const kTexts[] = {
    "<s>",        "</s>",         "<|x|>",  "<|",           "|>",      " ",
    "  ",         "\n",           "\r\n",   "\t",           "a",       "the ",
    "don't",      "'LL",          "1234",   "\u00e9",       "e\u0301", "\u4e16\u754c",
    "\U0001f642", "\u0661",       "\u00bd", "\u1100\u1161", "\u00a0",  "\u3000",
    "\u212b",     "\uf900",       "\u017f", "()",           "...",     "==",
    "ww",         "\u0301\u0323",
};

void spoil(std::string* text, Random* random) { spoil(text, kWords, random); }

std::string prompt(Random* random) {
  std::string text;
  for (size_t i = random->below(12); i > 0; i--) {
    if (random->below(8) == 0) {
      const uint32_t c = static_cast<uint32_t>(random->below(0x110000));
      if (c < 0xd800 || c >= 0xe000) append_code_point(&text, c);
    } else if (random->below(40) == 0) {
      text += static_cast<char>(random->next());
    } else {
      const char* word = any(kTexts, random);
      for (size_t j = random->below(random->below(6) ? 2 : 40) + 1; j > 0; j--) text += word;
    }
  }
  return text;
}

void use(const Tokenizer& tokenizer, bool exact, Random* random) {
  const std::string text = prompt(random);
  Ids ids, special, pieces;
  const Status status = tokenizer.encode(text, false, &ids);
  CHECK(status.ok() == is_utf8(text));
  CHECK(tokenizer.encode(text, true, &special).ok() == is_utf8(text));
  const size_t cut = random->below(text.size() + 1);
  CHECK(
      tokenizer
          .encode_pieces({{text.substr(0, cut), {}, false}, {text.substr(cut), {}, false}}, &pieces)
          .ok() == is_utf8(text));
  CHECK(pieces == ids);  // neighbouring texts are one
  if (status.ok() && exact) CHECK(tokenizer.decode(ids.data(), ids.size(), false) == text);
  for (size_t i = random->below(4); i > 0; i--) {
    ids.push_back(static_cast<int32_t>(random->below(4) ? random->below(300) : random->next()));
  }
  CHECK(is_utf8(tokenizer.decode(ids.data(), ids.size(), true)));
  AnswerText answer(tokenizer, random->below(2) ? std::vector<std::string>()
                                                : std::vector<std::string>{prompt(random) + "a"});
  std::string shown;
  for (const int32_t id : ids) {
    shown += answer.add(id);
    if (answer.stopped()) break;
  }
  shown += answer.finish();
  CHECK(is_utf8(shown));
  (void)tokenizer.encode_pieces({{text, {}, false}, {"", ids, true}, {text, {}, false}}, &pieces);
}

// Tokenizers of every kind that the engine knows. The first ones give each text back.
std::vector<TokenizerJson> seeds() {
  std::vector<TokenizerJson> list(5);
  const std::vector<std::pair<std::string, std::string>> merges = {
      {"t", "h"}, {"th", "e"}, {"a", "a"}, {"aa", "aa"}, {"1", "2"}, {"=", "="}, {"w", "w"}};
  for (TokenizerJson& json : list) {
    json.model = byte_level_model(merges);
    json.added = added_token(263, "<s>", "s") + "," + added_token(264, "<|x|>", "") + "," +
                 added_token(265, "\u4e16\u754c", "n");
  }
  list[1].pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})";
  list[2].pre_tokenizer = R"({"type":"ByteLevel","add_prefix_space":true,"use_regex":true})";
  list[3].normalizer = R"({"type":"NFC"})";
  list[3].pre_tokenizer =
      R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},)"
      R"({"type":"ByteLevel","add_prefix_space":false}]})";
  list[4].added = added_token(263, "<s>", "lrsn") + "," + added_token(264, "<|x|>", "wn") + "," +
                  added_token(265, "</s>", "rs");
  list[4].post_processor =
      R"({"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"TemplateProcessing",)"
      R"("single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A"}},)"
      R"({"SpecialToken":{"id":"</s>"}}],"special_tokens":{"<s>":{"ids":[263]},)"
      R"("</s>":{"ids":[265]}}}]})";
  return list;
}
constexpr size_t kExact = 2;

std::unique_ptr<Tokenizer> open_files(const std::string& json, const std::string& config,
                                      Status* status) {
  Folder folder;
  folder.write("tokenizer.json", json);
  folder.write("tokenizer_config.json", config);
  std::unique_ptr<Tokenizer> tokenizer;
  *status = Tokenizer::open(folder.path(), &tokenizer);
  CHECK(status->ok() == (tokenizer != nullptr));
  CHECK(status->ok() || (!status->sentence.empty() && is_utf8(status->sentence)));
  return tokenizer;
}

void fuzz_json(Random* random, const std::string& seed) {
  std::string text = seed;
  spoil(&text, random);
  Json json;
  const Status status = parse(text, "it", &json);
  CHECK(status.ok() != (status.code == BITNET_EDGE_ARTIFACT));
  size_t bytes = 0;
  for (const Value& value : json.root()) bytes += value.text().size() + value.size();
  CHECK(bytes <= text.size());
}

void fuzz_files(Random* random, const std::vector<TokenizerJson>& list) {
  TokenizerJson json = list[random->below(list.size())];
  // Half of the damage is to the small parts: the model is nine tenths of the file.
  std::string* parts[] = {&json.added, &json.normalizer, &json.pre_tokenizer, &json.post_processor,
                          &json.decoder};
  std::string config = R"({"eos_token":"<s>","additional_special_tokens":["ww"],"pad_token":null,)"
                       R"("added_tokens_decoder":{"263":{"content":"<s>","special":true}}})";
  if (random->below(2)) config = "{}";
  if (random->below(3) == 0) spoil(&config, random);
  if (random->below(2)) spoil(parts[random->below(5)], random);
  std::string text = json.text();
  if (random->below(2)) spoil(&text, random);
  Status status;
  const std::unique_ptr<Tokenizer> tokenizer = open_files(text, config, &status);
  if (!tokenizer) return;
  damaged_and_opened++;
  use(*tokenizer, false, random);
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t rounds = argc > 1 ? strtoull(argv[1], nullptr, 10) : 20000;
  const uint64_t seed = argc > 2 ? strtoull(argv[2], nullptr, 10) : 1;
  const std::vector<TokenizerJson> list = seeds();
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  for (const TokenizerJson& json : list) {
    Status status;
    tokenizers.push_back(open_files(json.text(), "{}", &status));
    if (!status.ok()) fprintf(stderr, "%s\n", status.sentence.c_str());
    if (!status.ok()) return 1;
  }
  std::string small = list[4].text();
  small.erase(small.find("\"model\""), 4000);
  for (uint64_t round = 0; round < rounds; round++) {
    Random random = {seed * 1000003 + round};
    CASE("round %llu of seed %llu", static_cast<unsigned long long>(round),
         static_cast<unsigned long long>(seed));
    const size_t kind = random.below(10);
    if (kind < 2) {
      fuzz_json(&random, small);
    } else if (kind < 3) {
      fuzz_files(&random, list);
    } else {
      const size_t i = random.below(tokenizers.size());
      use(*tokenizers[i], i < kExact, &random);
    }
  }
  printf("%llu rounds, %llu damaged files opened, %d failures\n",
         static_cast<unsigned long long>(rounds),
         static_cast<unsigned long long>(damaged_and_opened), failures);
  return failures != 0;
}
