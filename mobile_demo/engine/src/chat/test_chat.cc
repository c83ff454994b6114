// Conversations on a tokenizer whose ids are bytes, so that the expected ids can be read.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"
#include "chat/conversation.h"
#include "chat/date.h"
#include "testing/check.h"

using namespace edge;

namespace {

constexpr int32_t kEnd = 256, kBegin = 257, kThink = 258;  // <e>, <s>, <t>
std::string folder;

void write(const char* name, const std::string& content) {
  FILE* file = fopen((folder + "/" + name).c_str(), "wb");
  fwrite(content.data(), 1, content.size(), file);
  fclose(file);
}

// GPT-2's letters for bytes.
std::string vocabulary() {
  std::string text;
  uint32_t next = 256;
  for (uint32_t byte = 0; byte < 256; byte++) {
    const bool printed = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
    text += byte ? ", \"" : "\"";
    if (byte == '"' || byte == '\\') text += '\\';
    append_code_point(&text, printed ? byte : next++);
    text += "\": " + std::to_string(byte);
  }
  return text;
}

void write_tokenizer() {
  std::string added;
  int32_t id = kEnd;
  for (const char* name : {"<e>", "<s>", "<t>"}) {
    added += (id == kEnd ? "" : ", ") + std::string("{\"id\": ") + std::to_string(id) +
             ", \"content\": \"" + name +
             "\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": "
             "false, \"special\": true}";
    id++;
  }
  write("tokenizer.json",
        "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": [" +
            added +
            "], \"normalizer\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\", "
            "\"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}, "
            "\"post_processor\": null, \"decoder\": {\"type\": \"ByteLevel\", "
            "\"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true}, \"model\": "
            "{\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
            "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": "
            "false, \"byte_fallback\": false, \"ignore_merges\": false, \"vocab\": {" +
            vocabulary() + "}, \"merges\": []}}");
  write("tokenizer_config.json", "{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}");
}

const char kChat[] =
    R"({"format_version": 1, "eos_token_ids": [256], "conversation": {
    "system": {"strip_left": "", "strip_right": "", "cut": null, "refused": [], "blank": false,
      "before": [{"token": "<s>", "id": 257}, {"text": "S:"}], "after": [{"text": "|Q:"}]},
    "user": {"strip_left": " \n", "strip_right": " ", "cut": null, "refused": ["<tool>"],
      "blank": true, "before": [{"token": "", "id": 257}, {"text": "Q:"}]},
    "assistant": {"strip_left": "", "strip_right": "", "refused": [], "blank": true,
      "cut": {"after": "</t>", "strip_left": "\n", "strip_right": ""},
      "before": [{"text": " A: "}], "after": [{"token": "<e>", "id": 256}, {"text": "Q:"}],
      "tokens": {"<t>": 258}},
    "prompt": [{"text": " A: "}]}})";

// The ids of a text; <e>, <s> and <t> are ids where `special`.
std::vector<int32_t> ids_of(std::string_view text, bool special = true) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < text.size(); i++) {
    const std::string_view three = text.substr(i, 3);
    const int32_t id = three == "<e>"   ? kEnd
                       : three == "<s>" ? kBegin
                       : three == "<t>" ? kThink
                                        : -1;
    if (special && id >= 0) {
      ids.push_back(id);
      i += 2;
    } else {
      ids.push_back(static_cast<unsigned char>(text[i]));
    }
  }
  return ids;
}

std::vector<int32_t> prompt(Conversation* chat, std::string_view text, int32_t context = 4096,
                            int32_t* forgotten = nullptr) {
  std::vector<int32_t> ids;
  int32_t count = 0;
  CHECK(chat->prompt(text, context, &ids, &count).ok());
  if (forgotten) *forgotten = count;
  return ids;
}

std::unique_ptr<Conversation> opened(const Tokenizer& tokenizer) {
  std::unique_ptr<Conversation> chat;
  const Status status = Conversation::open(folder, tokenizer, &chat);
  if (!status.ok()) {
    fprintf(stderr, "%s\n", status.sentence.c_str());
    exit(1);
  }
  return chat;
}

void test_turns(const Tokenizer& tokenizer) {
  CASE("turns");
  auto chat = opened(tokenizer);
  CHECK(chat->eos_ids() == std::vector<int32_t>{kEnd});
  CHECK(prompt(chat.get(), "hi") == ids_of("<s>Q:hi A: "));
  CHECK(chat->start("be <e> brief", true).ok());
  CHECK(chat->add("  one ", "<t>hm</t>\n\n yes").ok());
  CHECK(chat->add("\n two", "a<t>b").ok());
  std::vector<int32_t> expected = ids_of("<s>S:");
  for (const int32_t id : ids_of("be <e> brief", false)) expected.push_back(id);
  for (const int32_t id : ids_of("|Q:one A:  yes<e>Q:two A: a<t>b<e>Q:")) expected.push_back(id);
  for (const int32_t id : ids_of("<s>x", false)) expected.push_back(id);
  for (const int32_t id : ids_of(" A: ")) expected.push_back(id);
  CHECK(prompt(chat.get(), "<s>x ") == expected);
  CHECK(chat->start({}, false).ok());
  CHECK(prompt(chat.get(), "") == ids_of("<s>Q: A: "));
}

void test_replies(const Tokenizer& tokenizer) {
  CASE("replies");
  auto chat = opened(tokenizer);
  prompt(chat.get(), "hi");
  chat->answered("hi", "yes", ids_of("yes"));
  prompt(chat.get(), "go");
  // The ids say more than was shown: the text counts.
  chat->answered("go", "on", ids_of("on<e>STOP", false));
  // A hidden token that the chat does not have before the answer: the text counts.
  prompt(chat.get(), "so");
  chat->answered("so", "well", ids_of("<s>well"));
  // A thought is cut, so the text counts.
  prompt(chat.get(), "and");
  chat->answered("and", "<t>hm</t>\nthen", ids_of("<t>hm</t>\nthen"));
  prompt(chat.get(), "no");
  chat->answered("no", "", {});
  CHECK(
      prompt(chat.get(), "end") ==
      ids_of("<s>Q:hi A: yes<e>Q:go A: on<e>Q:so A: well<e>Q:and A: then<e>Q:no A: <e>Q:end A: "));
}

void test_forgetting(const Tokenizer& tokenizer) {
  CASE("forgetting");
  auto chat = opened(tokenizer);
  CHECK(chat->start("sys", true).ok());
  for (int turn = 0; turn < 6; turn++) CHECK(chat->add("1234567890", "1234567890").ok());
  int32_t forgotten = -1;
  std::vector<int32_t> whole = prompt(chat.get(), "x", 4096, &forgotten);
  CHECK(forgotten == 0);
  const int32_t size = static_cast<int32_t>(whole.size());
  // A quarter of the context is room for an answer.
  prompt(chat.get(), "x", size + size / 3 + 1, &forgotten);
  CHECK(forgotten == 0);
  const std::vector<int32_t> less = prompt(chat.get(), "x", size, &forgotten);
  CHECK(forgotten > 0 && less.size() <= whole.size() / 2);
  CHECK(prompt(chat.get(), "x", 4096, &forgotten) == whole && forgotten == 0);
  prompt(chat.get(), "x", size, &forgotten);
  const int32_t gone = forgotten;
  chat->answered("x", "y", ids_of("y"));
  std::vector<int32_t> expected = less;
  for (const int32_t id : ids_of("y<e>Q:z A: ")) expected.push_back(id);
  CHECK(prompt(chat.get(), "z", 4096, &forgotten) == expected && forgotten == 0 && gone > 0);
  std::vector<int32_t> ids;
  for (const int32_t context : {-1, 0, 1, 12}) {
    const Status status = chat->prompt("a long message", context, &ids, &forgotten);
    CHECK(status.code == BITNET_EDGE_CONTEXT && ids.empty());
  }
  CHECK(prompt(chat.get(), "z") == expected);
}

void test_refusals(const Tokenizer& tokenizer) {
  CASE("refusals");
  auto chat = opened(tokenizer);
  std::vector<int32_t> ids;
  int32_t forgotten = 0;
  CHECK(chat->prompt("a <tool> b", 4096, &ids, &forgotten).code == BITNET_EDGE_UNSUPPORTED);
  CHECK(chat->prompt("\xc3", 4096, &ids, &forgotten).code == BITNET_EDGE_ARGUMENT);
  CHECK(chat->add("<tool>", "x").code == BITNET_EDGE_UNSUPPORTED);
  CHECK(chat->add("x", "\xff").code == BITNET_EDGE_ARGUMENT);
  for (const char* blank : {"", " ", "\n\t", "\xe3\x80\x80\xc2\xa0"}) {
    CHECK(chat->start(blank, true).code == BITNET_EDGE_UNSUPPORTED);
  }
  CHECK(chat->start("\xe3\x80\x81", true).ok());
  CHECK(ids.empty());
}

// Each byte of the file is left out or replaced in turn: read or refused, never a crash.
void test_damages(const Tokenizer& tokenizer) {
  Random random{1};
  const std::string whole = kChat;
  size_t refused = 0;
  for (size_t round = 0; round < 3 * whole.size(); round++) {
    std::string text = whole;
    const size_t at = round % whole.size();
    CASE("damage %zu of round %zu", at, round);
    if (round < whole.size()) {
      text.erase(at, 1);
    } else if (round < 2 * whole.size()) {
      text[at] = static_cast<char>(random.next());
    } else {
      text.resize(at);
    }
    write("chat.json", text);
    std::unique_ptr<Conversation> chat;
    const Status status = Conversation::open(folder, tokenizer, &chat);
    refused += !status.ok();
    CHECK(status.ok() == (chat != nullptr));
    CHECK(status.ok() || !status.sentence.empty());
    std::vector<int32_t> ids;
    int32_t forgotten;
    if (chat) chat->prompt("hi", 4096, &ids, &forgotten);
  }
  CHECK(refused > whole.size());
  for (const char* other :
       {"{}", R"({"format_version": 2})", R"({"format_version": "1", "eos_token_ids": []})",
        R"({"format_version": 1, "eos_token_ids": [], "unsupported": ""})",
        R"({"format_version": 1, "eos_token_ids": [-1], "unsupported": "x"})",
        R"({"format_version": 1, "eos_token_ids": [], "unsupported": "x", "conversation": {}})"}) {
    CASE("%s", other);
    write("chat.json", other);
    ChatFile file;
    CHECK(!read_chat_file(folder, &file).ok());
  }
  write("chat.json", R"({"format_version": 1, "eos_token_ids": [7], "unsupported": "it moves"})");
  ChatFile file;
  CHECK(read_chat_file(folder, &file).ok() && file.eos_token_ids[0] == 7);
  std::unique_ptr<Conversation> chat;
  const Status status = Conversation::open(folder, tokenizer, &chat);
  CHECK(status.code == BITNET_EDGE_UNSUPPORTED && status.sentence == "it moves");
}

void test_dates() {
  CASE("dates");
  struct tm day = {};
  day.tm_year = 131, day.tm_mon = 1, day.tm_mday = 3, day.tm_wday = 1, day.tm_yday = 33;
  CHECK(written_date("%d %b %Y", day) == "03 Feb 2031");
  CHECK(written_date("%A, %B %d (%a %m %y %j)", day) == "Monday, February 03 (Mon 02 31 034)");
  CHECK(known_date("Today: %d") && !known_date("%H") && !known_date("100 %") && !known_date("%-d"));
}

}  // namespace

int main() {
  char name[] = "/tmp/bitnet_edge_chat_XXXXXX";
  if (!mkdtemp(name)) return 1;
  folder = name;
  write_tokenizer();
  write("chat.json", kChat);
  std::unique_ptr<Tokenizer> tokenizer;
  const Status status = Tokenizer::open(folder, &tokenizer);
  if (!status.ok()) {
    fprintf(stderr, "%s\n", status.sentence.c_str());
    return 1;
  }
  test_turns(*tokenizer);
  test_replies(*tokenizer);
  test_forgetting(*tokenizer);
  test_refusals(*tokenizer);
  test_dates();
  test_damages(*tokenizer);
  for (const char* file : {"tokenizer.json", "tokenizer_config.json", "chat.json"}) {
    remove((folder + "/" + file).c_str());
  }
  rmdir(name);
  return failures != 0;
}
