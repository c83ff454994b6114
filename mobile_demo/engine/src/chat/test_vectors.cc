// Replays mobile_demo/vectors/vectors.json, which Python and TypeScript compute too: tokenization,
// streams, stop strings, conversations. Its argument is the repository, else where this file was.
#include "base/file.h"
#include "base/json.h"
#include "chat/conversation.h"
#include "testing/check.h"
#include "text/stream.h"

using namespace edge;

namespace {

std::vector<int32_t> ids_of(const Value* list) {
  std::vector<int32_t> ids;
  for (const Value& item : *list) ids.push_back(static_cast<int32_t>(item.integer()));
  return ids;
}

void test_texts(const Value& texts, const Tokenizer& tokenizer) {
  for (const Value& item : texts) {
    CASE("text %s", item.get("text")->string().c_str());
    const std::vector<int32_t> expected = ids_of(item.get("ids"));
    std::vector<int32_t> ids;
    CHECK(tokenizer.encode(item.get("text")->text(), true, &ids).ok());
    CHECK(ids == expected);
    CHECK(tokenizer.decode(ids.data(), ids.size(), false) == item.get("decoded")->text());
  }
}

void test_streams(const Value& streams, const Tokenizer& tokenizer) {
  for (const Value& item : streams) {
    CASE("streams");
    StreamDecoder decoder(tokenizer);
    auto piece = item.get("pieces")->begin();
    for (const int32_t id : ids_of(item.get("ids"))) {
      CHECK(decoder.add(id) == piece->text());
      ++piece;
    }
    CHECK(decoder.finish() == piece->text());
  }
}

void test_stops(const Value& stops) {
  for (const Value& item : stops) {
    CASE("stop strings");
    std::vector<std::string> strings;
    for (const Value& string : *item.get("strings")) strings.push_back(string.string());
    StopStrings stop(strings);
    auto shown = item.get("shown")->begin();
    for (const Value& piece : *item.get("pieces")) {
      CHECK(stop.add(piece.text()) == shown->text());
      ++shown;
    }
    CHECK(stop.finish() == shown->text());
  }
}

void test_chats(const Value& chats, Conversation* chat) {
  for (const Value& item : chats) {
    CASE("a conversation of %zu messages", item.get("messages")->size());
    std::string_view system, user;
    bool has_system = false, first = true;
    for (const Value& message : *item.get("messages")) {
      const std::string_view role = message.get("role")->text();
      const std::string_view content = message.get("content")->text();
      if (first) {
        has_system = role == "system";
        CHECK(chat->start(has_system ? content : "", has_system).ok());
        first = false;
      }
      if (role == "assistant") CHECK(chat->add(user, content).ok());
      user = content;
    }
    std::vector<int32_t> ids;
    int32_t forgotten;
    CHECK(chat->prompt(user, 1 << 20, &ids, &forgotten).ok());
    CHECK(ids == ids_of(item.get("ids")));
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string root = __FILE__;
  const size_t inside = root.rfind("mobile_demo/engine/src/chat/");
  root = argc > 1 ? argv[1] : inside == std::string::npos ? "." : root.substr(0, inside) + ".";
  const std::string vectors = join(root, "mobile_demo/vectors");
  Json json;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Conversation> chat;
  Status status = read_json(vectors, "vectors.json", &json);
  if (status.ok()) status = Tokenizer::open(join(root, "bitnet_onnx/demo"), &tokenizer);
  if (status.ok()) status = Conversation::open(vectors, *tokenizer, &chat);
  if (!status.ok()) {
    fprintf(stderr, "%s\n", status.sentence.c_str());
    return 1;
  }
  test_texts(*json.get("texts"), *tokenizer);
  test_streams(*json.get("streams"), *tokenizer);
  test_stops(*json.get("stops"));
  test_chats(*json.get("chats"), chat.get());
  test_chats(*json.get("turns"), chat.get());
  return failures != 0;
}
