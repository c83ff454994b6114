// Replays mobile_demo/vectors/vectors.json, which Python and TypeScript compute too: a row of
// kReplays for each kind of them.
//   chat_vectors_test [REPOSITORY [ARTIFACT ONNXRUNTIME]]
// Without an artifact of the bundled model, the kinds that compute with it are left out. It prints
// the kinds that it replayed.
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "bitnet_edge.h"
#include "chat/conversation.h"
#include "run/sampling.h"
#include "testing/check.h"
#include "text/stream.h"

using namespace edge;

namespace {

using Ids = std::vector<int32_t>;

// What the kinds are replayed with.
struct Replayed {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Conversation> chat;
  bitnet_edge* engine = nullptr;  // null without an artifact
};

Ids ids_of(const Value* list) {
  Ids ids;
  for (const Value& item : *list) ids.push_back(static_cast<int32_t>(item.integer()));
  return ids;
}

void test_texts(const Value& texts, Replayed* with) {
  for (const Value& item : texts) {
    CASE("text %s", item.get("text")->string().c_str());
    Ids ids;
    CHECK(with->tokenizer->encode(item.get("text")->text(), true, &ids).ok());
    CHECK(ids == ids_of(item.get("ids")));
    CHECK(with->tokenizer->decode(ids.data(), ids.size(), false) == item.get("decoded")->text());
  }
}

void test_streams(const Value& streams, Replayed* with) {
  for (const Value& item : streams) {
    CASE("streams");
    StreamDecoder decoder(*with->tokenizer);
    auto piece = item.get("pieces")->begin();
    for (const int32_t id : ids_of(item.get("ids"))) {
      CHECK(decoder.add(id) == piece->text());
      ++piece;
    }
    CHECK(decoder.finish() == piece->text());
  }
}

void test_stops(const Value& stops, Replayed*) {
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

// Starts a conversation with all messages but the last; returns that one.
std::string_view begin_chat(const Value& messages, Conversation* chat) {
  std::string_view user;
  bool first = true;
  for (const Value& message : messages) {
    const std::string_view role = message.get("role")->text();
    const std::string_view content = message.get("content")->text();
    if (first) {
      const bool has_system = role == "system";
      CHECK(chat->start(has_system ? content : "", has_system).ok());
      first = false;
    }
    if (role == "assistant") CHECK(chat->add(user, content).ok());
    user = content;
  }
  return user;
}

void test_turns(const Value& turns, Replayed* with) {
  for (const Value& item : turns) {
    CASE("a conversation of %zu messages", item.get("messages")->size());
    const std::string_view user = begin_chat(*item.get("messages"), with->chat.get());
    Ids ids;
    int32_t forgotten;
    CHECK(with->chat->prompt(user, 1 << 20, &ids, &forgotten).ok());
    CHECK(ids == ids_of(item.get("ids")));
  }
}

// What comes behind an answer whose ids are known: the end of its turn, and the next message.
void test_chats(const Value& chats, Replayed* with) {
  test_turns(chats, with);
  for (const Value& item : chats) {
    CASE("what comes behind an answer");
    Ids expected = ids_of(item.get("ids")), answer, ids;
    const std::string_view user = begin_chat(*item.get("messages"), with->chat.get());
    int32_t forgotten;
    CHECK(with->chat->prompt(user, 1 << 20, &ids, &forgotten).ok());
    for (const char* letter : {"4", "2"}) {
      CHECK(with->tokenizer->encode(letter, false, &ids).ok());
      answer.insert(answer.end(), ids.begin(), ids.end());
    }
    const std::string text = with->tokenizer->decode(answer.data(), answer.size(), true);
    with->chat->answered(user, text, answer);
    const Value& after = *item.get("after")->begin();
    CHECK(with->chat->prompt(after.get("content")->text(), 1 << 20, &ids, &forgotten).ok());
    const Ids behind = ids_of(item.get("after_ids"));
    expected.insert(expected.end(), answer.begin(), answer.end());
    expected.insert(expected.end(), behind.begin(), behind.end());
    CHECK(ids == expected);
  }
}

Sampling sampling_of(const Value& params) {
  Sampling sampling;
  const auto read = [&](const char* name, double* number) {
    if (const Value* value = params.get(name)) *number = value->number();
  };
  read("temperature", &sampling.temperature);
  read("top_p", &sampling.top_p);
  read("min_p", &sampling.min_p);
  read("repetition_penalty", &sampling.repetition_penalty);
  if (const Value* k = params.get("top_k")) sampling.top_k = static_cast<int32_t>(k->integer());
  return sampling;
}

void test_sampling(const Value& kind, Replayed*) {
  std::vector<float> logits, changed;
  for (const Value& logit : *kind.get("logits")) {
    logits.push_back(static_cast<float>(logit.number()));
  }
  const Ids said = ids_of(kind.get("said"));
  for (const Value& item : *kind.get("cases")) {
    CASE("a distribution");
    Sampling sampling = sampling_of(*item.get("params"));
    sampling.do_sample = true;
    Sampler sampler(sampling, logits.size());
    sampler.observe(said.data(), said.size());
    Distribution found;
    changed = logits;
    CHECK(sampler.distribution(changed.data(), &found).ok());
    CHECK(found.ids == ids_of(item.get("ids")));
    auto p = item.get("p")->begin();
    // Sums are rounded in another order there.
    for (const double mine : found.probabilities) {
      CHECK(fabs(mine - p->number()) <= 1e-14 * p->number());
      ++p;
    }
  }
  CASE("greedy with a repetition penalty");
  Sampling greedy;
  greedy.repetition_penalty = 1.3;
  Sampler sampler(greedy, logits.size());
  sampler.observe(said.data(), said.size());
  for (const int32_t expected : ids_of(kind.get("greedy"))) {
    int32_t id;
    changed = logits;
    CHECK(sampler.sample(changed.data(), &id).ok());
    CHECK(id == expected);
  }
}

// What of the prompt was in the cache, and which turns are kept.
void test_conversation(const Value& turns, Replayed* with) {
  bitnet_edge_error error;
  CHECK(bitnet_edge_chat_start(with->engine, nullptr, 0, &error) == BITNET_EDGE_OK);
  bitnet_edge_generation options;
  bitnet_edge_defaults(with->engine, &options);
  options.max_new_tokens = 32;  // LIMIT of vectors/make.py
  int64_t kept = 0;
  for (const Value& turn : turns) {
    const std::string_view text = turn.get("text")->text();
    CASE("the turn %s", std::string(text).c_str());
    bitnet_edge_stats stats;
    CHECK(bitnet_edge_chat_send(with->engine, text.data(), text.size(), &options, nullptr, nullptr,
                                &stats, &error) == BITNET_EDGE_OK);
    size_t count;
    const int32_t* ids = bitnet_edge_answer_ids(with->engine, &count);
    CHECK(Ids(ids, ids + count) == ids_of(turn.get("ids")));
    CHECK(stats.prompt_ids == turn.get("prompt_tokens")->integer());
    CHECK(stats.reused_ids == turn.get("cached_tokens")->integer());
    kept += 1 - stats.forgotten;
    CHECK(kept == turn.get("kept")->integer());
  }
}

void test_stopped(const Value& kind, Replayed* with) {
  CASE("a stop string in an answer");
  const std::string stop = kind.get("stop")->string();
  const char* const strings[] = {stop.c_str()};
  bitnet_edge_generation options;
  bitnet_edge_defaults(with->engine, &options);
  options.max_new_tokens = 32;
  options.stop_strings = strings;
  options.stop_string_count = 1;
  const Ids prompt = ids_of(kind.get("prompt"));
  std::string text;
  const auto add = [](const char* piece, size_t bytes, void* to) {
    static_cast<std::string*>(to)->append(piece, bytes);
    return 0;
  };
  bitnet_edge_stats stats;
  bitnet_edge_error error;
  CHECK(bitnet_edge_generate(with->engine, prompt.data(), prompt.size(), &options, add, &text,
                             &stats, &error) == BITNET_EDGE_OK);
  CHECK(stats.finish == BITNET_EDGE_FINISH_STOP_STRING && text == kind.get("text")->text());
  size_t count;
  const int32_t* ids = bitnet_edge_answer_ids(with->engine, &count);
  CHECK(Ids(ids, ids + count) == ids_of(kind.get("ids")));
}

const struct {
  const char* kind;
  void (*test)(const Value& vectors, Replayed* with);
  bool computes;  // with the model
} kReplays[] = {
    {"texts", test_texts, false},    {"streams", test_streams, false},
    {"stops", test_stops, false},    {"chats", test_chats, false},
    {"turns", test_turns, false},    {"conversation", test_conversation, true},
    {"stopped", test_stopped, true}, {"sampling", test_sampling, false},
};

void replay(const Value& vectors, Replayed* with) {
  CHECK(vectors.size() == std::size(kReplays));
  for (const auto& replay : kReplays) {
    CASE("the kind %s", replay.kind);
    const Value* kind = vectors.get(replay.kind);
    CHECK(kind);
    if (!kind || (replay.computes && !with->engine)) continue;
    replay.test(*kind, with);
    printf("%s\n", replay.kind);
  }
}

Status open(const std::string& vectors, const std::string& model, Json* json, Replayed* with) {
  Status status = read_json(vectors, "vectors.json", json);
  if (status.ok()) status = Tokenizer::open(model, &with->tokenizer);
  if (status.ok()) status = Conversation::open(vectors, *with->tokenizer, &with->chat);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  std::string root = __FILE__;
  const size_t inside = root.rfind("mobile_demo/engine/src/chat/");
  root = argc > 1 ? argv[1] : inside == std::string::npos ? "." : root.substr(0, inside) + ".";
  Json json;
  Replayed with;
  const Status status =
      open(join(root, "mobile_demo/vectors"), join(root, "bitnet_onnx/demo"), &json, &with);
  if (!status.ok()) {
    fprintf(stderr, "%s\n", status.sentence.c_str());
    return 1;
  }
  if (argc > 3) {
    const bitnet_edge_options options = {argv[2], argv[3], nullptr, 0};
    bitnet_edge_error error;
    if (bitnet_edge_open(&options, &with.engine, &error) != BITNET_EDGE_OK) {
      fprintf(stderr, "%s\n", error.sentence);
      return 1;
    }
  }
  replay(json.root(), &with);
  bitnet_edge_close(with.engine);
  return failures != 0;
}
