// A fuzz of the small files of an artifact: manifest.json, generation_config.json and chat.json.
// Each is refused in a sentence, or read with values that keep their bounds.
//     edge_fuzz_files [rounds] [seed]
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "chat/conversation.h"
#include "run/generation_config.h"
#include "run/manifest.h"
#include "run/sha256.h"
#include "testing/check.h"
#include "testing/damage.h"
#include "testing/folder.h"

using namespace edge;

namespace {

uint64_t opened[3];

const char* const kWords[] = {
    "null",
    "true",
    "false",
    "{}",
    "[]",
    "\"\"",
    "\"x\"",
    "0",
    "-1",
    "1",
    "2",
    "1.5",
    "1e999",
    "-0.0",
    "1e-320",
    "2147483647",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\n\"",
    "\"a\":",
    ",",
    ":",
    "{",
    "}",
    "[",
    "]",
    "\xff",
    "[[[",
    "\"\xf0\x9f\x99\x82\"",
    "\"a\xcc\x81\"",
    // manifest.json
    "\"format_version\"",
    "\"task\"",
    "\"network\"",
    "\"files\"",
    "\"model.onnx\"",
    "\"model.onnx_data\"",
    "\"model-1-of-2.onnx.data\"",
    "\"model.onnx.data\"",
    "\"../x\"",
    "\"a/b\"",
    "\"sha256\"",
    "\"size\"",
    "\"float16\"",
    "\"int8\"",
    "\"two-step-int6\"",
    "\"two-step-int4\"",
    "\"stock\"",
    // generation_config.json
    "\"eos_token_id\"",
    "\"stop_strings\"",
    "\"do_sample\"",
    "\"temperature\"",
    "\"top_k\"",
    "\"top_p\"",
    "\"min_p\"",
    "\"repetition_penalty\"",
    "\"num_beams\"",
    "\"typical_p\"",
    "\"max_length\"",
    "\"max_new_tokens\"",
    "\"suppress_tokens\"",
    "[1,2]",
    "[\"x\",\"y\"]",
    "0.5",
    // chat.json
    "\"unsupported\"",
    "\"system\"",
    "\"user\"",
    "\"assistant\"",
    "\"before\"",
    "\"after\"",
    "\"cut\"",
    "\"refused\"",
    "\"blank\"",
    "\"strip_left\"",
    "\"strip_right\"",
    "\"tokens\"",
    "{\"date\":\"%d %b %Y\"}",
    "{\"text\":\"User: \"}",
    "{\"token\":\"<|eot_id|>\",\"id\":2}",
    "{\"token\":\"\",\"id\":0}",
    "{\"after\":\"x\",\"strip_left\":\"\",\"strip_right\":\" \"}",
};
constexpr const char* kTexts[] = {"",           " ",      "hi",      "\n\n",   "What is 27 + 5?",
                                  "<|eot_id|>", "\u3000", "x\u0301", "User: ", "\xff"};

// A sentence for people, in one line.
void check_refusal(const Status& status) {
  CHECK(status.code == BITNET_EDGE_ARTIFACT || status.code == BITNET_EDGE_UNSUPPORTED ||
        status.code == BITNET_EDGE_ARGUMENT);
  CHECK(!status.sentence.empty() && is_utf8(status.sentence));
  CHECK(status.sentence.find('\n') == std::string::npos);
}

void fuzz_manifest(const std::string& text, Folder* folder) {
  folder->write("manifest.json", text);
  Manifest m;
  const Status status = open_manifest(folder->path(), &m);
  if (!status.ok()) return check_refusal(status);
  opened[0]++;
  CHECK(m.target == "native" || m.target == "stock");
  for (const int32_t size :
       {m.context_length, m.vocab_size, m.num_hidden_layers, m.num_key_value_heads, m.head_dim}) {
    CHECK(size > 0);
  }
  CHECK(m.has(kModel) && m.weight_bytes() > 0);
  for (const ListedFile& file : m.files) {
    CHECK(file.size >= 0 && file.name.find('/') == std::string::npos && file.name != "..");
  }
}

void fuzz_generation(const std::string& text) {
  Json json;
  GenerationConfig config;
  Status status = parse(text, "it", &json);
  if (status.ok() && !json.root().is_object()) return;
  if (status.ok()) status = parse_generation_config(json.root(), "it", &config);
  if (!status.ok()) return check_refusal(status);
  opened[1]++;
  CHECK(check_sampling(config.sampling).ok());
  CHECK(config.max_length >= 0 && config.max_new_tokens >= 0);
  for (const int32_t id : config.eos_ids) CHECK(id >= 0);
  for (const std::string& stop : config.stop_strings) CHECK(!stop.empty() && is_utf8(stop));
}

void fuzz_chat(const std::string& text, Folder* folder, const Tokenizer& tokenizer,
               ::Random* random) {
  folder->write("chat.json", text);
  std::unique_ptr<Conversation> chat;
  Status status = Conversation::open(folder->path(), tokenizer, &chat);
  CHECK(status.ok() == (chat != nullptr));
  if (!status.ok()) return check_refusal(status);
  opened[2]++;
  for (const int32_t id : chat->eos_ids()) CHECK(id >= 0);
  status = chat->start(any(kTexts, random), random->below(2) == 0);
  if (!status.ok()) check_refusal(status);
  std::vector<int32_t> ids;
  int32_t forgotten = 0;
  for (size_t turn = 0; turn < 3; turn++) {
    const char* message = any(kTexts, random);
    status = chat->prompt(message, random->below(3) ? 512 : 20, &ids, &forgotten);
    if (!status.ok()) {
      if (status.code != BITNET_EDGE_CONTEXT) check_refusal(status);
      continue;
    }
    CHECK(ids.size() <= 512 && forgotten >= 0 && forgotten <= static_cast<int32_t>(turn));
    for (const int32_t id : ids) CHECK(tokenizer.knows(id));
    std::vector<int32_t> answer;
    for (size_t i = random->below(9); i > 0; i--) {
      answer.push_back(static_cast<int32_t>(random->below(tokenizer.size())));
    }
    const std::string said = tokenizer.decode(answer.data(), answer.size(), true);
    if (!answer.empty()) chat->answered(message, said, std::move(answer));
  }
}

std::string good_manifest(Folder* folder) {
  std::string files;
  for (const char* name : {"model.onnx", "model.onnx_data"}) {
    folder->write(name, "data");
    std::string hash;
    CHECK(sha256(join(folder->path(), name), &hash).ok());
    files += (files.empty() ? "\"" : ",\"") + std::string(name) + R"(":{"size":4,"sha256":")" +
             hash + "\"}";
  }
  return R"({"format_version":2,"operator_domain_version":1,"task":"text-generation",)"
         R"("target":"native","head":"two-step","kv_cache":"int8","context_length":512,)"
         R"("vocab_size":300,"num_hidden_layers":2,"num_key_value_heads":1,"head_dim":8,)"
         R"("network":"bitnet","source":{},"tools":{"onnx":"1"},"files":{)" +
         files + "}}";
}

constexpr char kGeneration[] =
    R"({"bos_token_id":0,"eos_token_id":[1,2],"max_length":4096,"max_new_tokens":64,)"
    R"("do_sample":true,"temperature":0.6,"top_k":20,"top_p":0.9,"min_p":0.05,"num_beams":1,)"
    R"("repetition_penalty":1.1,"stop_strings":["-T","###"],"suppress_tokens":null,)"
    R"("guidance_scale":1.0,"typical_p":1.0,"cache_implementation":null,"use_cache":true})";

}  // namespace

int main(int argc, char** argv) {
  const uint64_t rounds = argc > 1 ? strtoull(argv[1], nullptr, 10) : 3000;
  const uint64_t seed = argc > 2 ? strtoull(argv[2], nullptr, 10) : 1;
  std::string root = __FILE__;
  const size_t inside = root.rfind("mobile_demo/engine/testing/");
  root = inside == std::string::npos ? "." : root.substr(0, inside) + ".";
  std::unique_ptr<Tokenizer> tokenizer;
  std::string chat;
  Status status = Tokenizer::open(join(root, "bitnet_onnx/demo"), &tokenizer);
  if (status.ok()) status = read_file(join(root, "mobile_demo/vectors/chat.json"), 1 << 20, &chat);
  if (!status.ok()) {
    fprintf(stderr, "%s\n", status.sentence.c_str());
    return 1;
  }
  Folder folder;
  const std::string manifest = good_manifest(&folder);
  for (uint64_t round = 0; round < rounds; round++) {
    ::Random random = {seed * 1000003 + round};
    CASE("round %llu of seed %llu", static_cast<unsigned long long>(round),
         static_cast<unsigned long long>(seed));
    const size_t kind = random.below(3);
    std::string text = kind == 0 ? manifest : kind == 1 ? kGeneration : chat;
    for (size_t i = random.below(3); i > 0; i--) change(&text, kWords, &random);
    if (random.below(3) == 0) spoil(&text, kWords, &random);
    if (kind == 0) fuzz_manifest(text, &folder);
    if (kind == 1) fuzz_generation(text);
    if (kind == 2) fuzz_chat(text, &folder, *tokenizer, &random);
  }
  printf(
      "%llu rounds; %llu manifests, %llu generation_config.json and %llu chat.json were read; "
      "%d failures\n",
      static_cast<unsigned long long>(rounds), static_cast<unsigned long long>(opened[0]),
      static_cast<unsigned long long>(opened[1]), static_cast<unsigned long long>(opened[2]),
      failures);
  return failures != 0;
}
