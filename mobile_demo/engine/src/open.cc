// Opens an artifact: its manifest, options, tokenizer and conversation, and at last its weights.
#include <algorithm>

#include "chat/chat_file.h"
#include "engine.h"
#include "run/threads.h"

namespace edge {
namespace {

constexpr int kMostThreads = 1024;

Status open_chat(bitnet_edge* engine) {
  ChatFile file;  // the tokens that end an answer stand there without a conversation, too
  if (read_chat_file(engine->manifest.folder, &file).ok()) engine->chat_ends = file.eos_token_ids;
  Status status =
      Conversation::open(engine->manifest.folder, *engine->tokenizer, &engine->conversation);
  if (status.code == BITNET_EDGE_UNSUPPORTED) {
    engine->conversation.reset();
    engine->why_no_chat = status.sentence;
    return {};
  }
  return status.ok() ? start_chat(engine, "", false) : status;
}

}  // namespace

Status open_engine(const bitnet_edge_options& options, bitnet_edge* engine) {
  if (!options.folder || !*options.folder) {
    return fail(BITNET_EDGE_ARGUMENT, "the options name no folder, expected an artifact folder");
  }
  if (options.threads < 0 || options.threads > kMostThreads) {
    return fail(BITNET_EDGE_ARGUMENT, "threads is %d, expected 0 (one for each big core) to %d",
                options.threads, kMostThreads);
  }
  Status status = open_manifest(options.folder, &engine->manifest);
  if (status.ok()) status = read_generation_config(options.folder, &engine->config);
  if (status.ok()) status = Tokenizer::open(options.folder, &engine->tokenizer);
  if (status.ok()) status = open_chat(engine);
  if (!status.ok()) return status;
  for (const std::string& string : engine->config.stop_strings) {
    engine->stop_strings.push_back(string.c_str());
  }
  engine->threads =
      options.threads ? options.threads : threads_for(engine->manifest.weight_bytes());
  RuntimeOptions runtime;
  if (options.onnxruntime) runtime.library = options.onnxruntime;
  if (options.operators) runtime.operators = options.operators;
  runtime.threads = engine->threads;
  return Session::open(engine->manifest, runtime, &engine->session);
}

Status start_chat(bitnet_edge* engine, std::string_view system, bool has_system) {
  Conversation& conversation = *engine->conversation;
  if (Status status = conversation.start(system, has_system); !status.ok()) return status;
  // What two first messages have in common is the template's beginning and the system prompt. Where
  // they do not fit, no answer will be given either.
  std::vector<int32_t> one, other;
  int32_t forgotten;
  engine->system_ids = 0;
  if (conversation.prompt("a", engine->manifest.context_length, &one, &forgotten).ok() &&
      conversation.prompt("b", engine->manifest.context_length, &other, &forgotten).ok()) {
    const size_t most = std::min(one.size(), other.size());
    while (engine->system_ids < most && one[engine->system_ids] == other[engine->system_ids]) {
      engine->system_ids++;
    }
  }
  return {};
}

}  // namespace edge
