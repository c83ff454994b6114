// The C interface: it checks what it is given, keeps other threads out, and turns a status into a
// code and a sentence.
#include "engine.h"

#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <new>

#include "base/utf8.h"

namespace edge {
namespace {

constexpr size_t kMostBytes = size_t{1} << 30;  // of a text
constexpr size_t kMostIds = size_t{1} << 30;

bitnet_edge_code told(const Status& status, bitnet_edge_error* error) {
  if (error) {
    error->code = status.code;
    snprintf(error->sentence, sizeof(error->sentence), "%s", status.sentence.c_str());
  }
  return status.code;
}

// The engine, while no other thread uses it.
class Use {
 public:
  explicit Use(bitnet_edge* engine) {
    if (!engine) {
      status = fail(BITNET_EDGE_ARGUMENT, "the engine is NULL, expected an open one");
    } else if (engine->busy.exchange(true)) {
      status = fail(BITNET_EDGE_BUSY,
                    "the engine is computing for another call, expected one at a time; wait for "
                    "it, or end it with bitnet_edge_stop");
    } else {
      engine_ = engine;
    }
  }
  ~Use() {
    if (engine_) engine_->busy = false;
  }
  Use(const Use&) = delete;

  Status status;

 private:
  bitnet_edge* engine_ = nullptr;
};

Status check_text(const char* name, const char* text, size_t bytes) {
  if ((!text && bytes) || bytes > kMostBytes) {
    return fail(BITNET_EDGE_ARGUMENT, "%s is %s, expected UTF-8 of at most 1 GB", name,
                text ? "longer" : "NULL");
  }
  if (!is_utf8(std::string_view(text, bytes))) {
    return fail(BITNET_EDGE_ARGUMENT, "%s is no UTF-8, expected UTF-8", name);
  }
  return {};
}

Status check_ids(const int32_t* ids, size_t count) {
  if ((ids || !count) && count <= kMostIds) return {};
  return fail(BITNET_EDGE_ARGUMENT, "the ids are %s, expected a list of ids",
              ids ? "too many" : "NULL");
}

Status has_chat(const bitnet_edge& engine) {
  if (engine.conversation) return {};
  return fail(BITNET_EDGE_UNSUPPORTED, "%s", engine.why_no_chat.c_str());
}

void tell(const LoopResult& result, size_t prompt, int32_t forgotten, bitnet_edge_stats* stats) {
  if (!stats) return;
  *stats = {};
  stats->finish = result.finish;
  stats->prompt_ids = static_cast<int32_t>(prompt);
  stats->reused_ids = result.reused_ids;
  stats->new_ids = static_cast<int32_t>(result.ids.size());
  stats->forgotten = forgotten;
  stats->shifts = result.shifts;
  stats->first_seconds = result.first_seconds;
  stats->decode_seconds = result.decode_seconds;
}

bitnet_edge_generation options_of(const bitnet_edge* engine,
                                  const bitnet_edge_generation* generation) {
  bitnet_edge_generation found;
  bitnet_edge_defaults(engine, &found);
  return generation ? *generation : found;
}

Status send(bitnet_edge* engine, std::string_view text, const bitnet_edge_generation* generation,
            Output* output, bitnet_edge_stats* stats) {
  const bitnet_edge_generation options = options_of(engine, generation);
  std::vector<int32_t> prompt;
  int32_t forgotten = 0;
  Status status =
      engine->conversation->prompt(text, engine->session->context_length(), &prompt, &forgotten,
                                   options.when_full != BITNET_EDGE_FULL_REFUSES);
  LoopResult result;
  if (status.ok()) status = answer(engine, prompt, options, true, output, &result);
  if (!status.ok()) return status;
  tell(result, prompt.size(), forgotten, stats);
  if (result.ids.empty()) return {};  // stopped before the first one
  if (result.finish == BITNET_EDGE_FINISH_STOP) result.ids.pop_back();
  engine->conversation->answered(text, std::move(output->text), std::move(result.ids));
  return {};
}

}  // namespace
}  // namespace edge

using edge::Status;
using edge::Use;

bitnet_edge_code bitnet_edge_open(const bitnet_edge_options* options, bitnet_edge** engine,
                                  bitnet_edge_error* error) {
  if (engine) *engine = nullptr;
  if (!options || !engine) {
    return edge::told(edge::fail(BITNET_EDGE_ARGUMENT, "the %s is NULL, expected a pointer",
                                 options ? "engine" : "options"),
                      error);
  }
  std::unique_ptr<bitnet_edge> opened(new (std::nothrow) bitnet_edge);
  const Status status = opened ? edge::open_engine(*options, opened.get())
                               : edge::fail(BITNET_EDGE_MEMORY, "there is no memory for an engine");
  if (status.ok()) *engine = opened.release();
  return edge::told(status, error);
}

void bitnet_edge_close(bitnet_edge* engine) { delete engine; }

bitnet_edge_code bitnet_edge_check(const char* folder, bitnet_edge_error* error) {
  edge::Manifest manifest;
  Status status = folder ? edge::open_manifest(folder, &manifest)
                         : edge::fail(BITNET_EDGE_ARGUMENT, "the folder is NULL, expected a path");
  if (status.ok()) status = edge::check_hashes(manifest);
  return edge::told(status, error);
}

void bitnet_edge_describe(const bitnet_edge* engine, bitnet_edge_info* info) {
  if (!info) return;
  *info = {};
  info->name = info->head = info->cache = info->target = info->kernel = "";
  if (!engine) return;
  info->name = engine->manifest.network.c_str();
  info->head = engine->manifest.head.c_str();
  info->cache = engine->manifest.kv_cache.c_str();
  info->target = engine->manifest.target.c_str();
  info->kernel = engine->session->runtime().kernel().c_str();
  info->vocab_size = engine->manifest.vocab_size;
  info->context_length = engine->manifest.context_length;
  info->threads = engine->threads;
  info->can_chat = engine->conversation != nullptr;
}

void bitnet_edge_defaults(const bitnet_edge* engine, bitnet_edge_generation* generation) {
  if (!generation) return;
  const edge::GenerationConfig none;
  const edge::GenerationConfig& config = engine ? engine->config : none;
  *generation = {};
  generation->max_new_tokens = config.max_new_tokens;
  generation->do_sample = config.sampling.do_sample;
  generation->temperature = config.sampling.temperature;
  generation->top_k = config.sampling.top_k;
  generation->top_p = config.sampling.top_p;
  generation->min_p = config.sampling.min_p;
  generation->repetition_penalty = config.sampling.repetition_penalty;
  generation->when_full = BITNET_EDGE_FULL_FORGETS;
  if (!engine) return;
  generation->stop_strings = engine->stop_strings.data();
  generation->stop_string_count = engine->stop_strings.size();
}

bitnet_edge_code bitnet_edge_encode(bitnet_edge* engine, const char* text, size_t bytes,
                                    int special, int32_t* ids, size_t room, size_t* count,
                                    bitnet_edge_error* error) {
  const Use use(engine);
  Status status = use.status;
  if (status.ok()) status = edge::check_text("the text", text, bytes);
  std::vector<int32_t> found;
  if (status.ok()) {
    status = engine->tokenizer->encode(std::string_view(text, bytes), special != 0, &found);
  }
  if (!status.ok()) return edge::told(status, error);
  if (ids) std::copy_n(found.begin(), std::min(room, found.size()), ids);
  if (count) *count = found.size();
  return edge::told({}, error);
}

bitnet_edge_code bitnet_edge_decode(bitnet_edge* engine, const int32_t* ids, size_t count,
                                    char* text, size_t room, size_t* bytes,
                                    bitnet_edge_error* error) {
  const Use use(engine);
  Status status = use.status;
  if (status.ok()) status = edge::check_ids(ids, count);
  if (!status.ok()) return edge::told(status, error);
  const std::string found = engine->tokenizer->decode(ids, count, true);
  if (text) std::copy_n(found.begin(), std::min(room, found.size()), text);
  if (bytes) *bytes = found.size();
  return edge::told({}, error);
}

bitnet_edge_code bitnet_edge_generate(bitnet_edge* engine, const int32_t* ids, size_t count,
                                      const bitnet_edge_generation* generation,
                                      bitnet_edge_piece piece, void* user, bitnet_edge_stats* stats,
                                      bitnet_edge_error* error) {
  const Use use(engine);
  Status status = use.status;
  if (status.ok()) engine->stop = false;
  if (status.ok()) status = edge::check_ids(ids, count);
  if (!status.ok()) return edge::told(status, error);
  edge::Output output{piece, user, {}};
  edge::LoopResult result;
  status = edge::answer(engine, std::vector<int32_t>(ids, ids + count),
                        edge::options_of(engine, generation), false, &output, &result);
  if (status.ok()) edge::tell(result, count, 0, stats);
  return edge::told(status, error);
}

bitnet_edge_code bitnet_edge_chat_start(bitnet_edge* engine, const char* system, size_t bytes,
                                        bitnet_edge_error* error) {
  const Use use(engine);
  Status status = use.status;
  if (status.ok()) status = edge::has_chat(*engine);
  if (status.ok()) status = edge::check_text("the system prompt", system, system ? bytes : 0);
  if (status.ok()) {
    status = edge::start_chat(engine, std::string_view(system, system ? bytes : 0), system);
  }
  return edge::told(status, error);
}

bitnet_edge_code bitnet_edge_chat_add(bitnet_edge* engine, const char* user_text, size_t user_bytes,
                                      const char* answer, size_t answer_bytes,
                                      bitnet_edge_error* error) {
  const Use use(engine);
  Status status = use.status;
  if (status.ok()) status = edge::has_chat(*engine);
  if (status.ok()) status = edge::check_text("the message", user_text, user_bytes);
  if (status.ok()) status = edge::check_text("the answer", answer, answer_bytes);
  if (status.ok()) {
    status = engine->conversation->add(std::string_view(user_text, user_bytes),
                                       std::string_view(answer, answer_bytes));
  }
  return edge::told(status, error);
}

bitnet_edge_code bitnet_edge_chat_send(bitnet_edge* engine, const char* text, size_t bytes,
                                       const bitnet_edge_generation* generation,
                                       bitnet_edge_piece piece, void* user,
                                       bitnet_edge_stats* stats, bitnet_edge_error* error) {
  const Use use(engine);
  Status status = use.status;
  if (status.ok()) engine->stop = false;
  if (status.ok()) status = edge::has_chat(*engine);
  if (status.ok()) status = edge::check_text("the message", text, bytes);
  edge::Output output{piece, user, {}};
  if (status.ok()) {
    status = edge::send(engine, std::string_view(text, bytes), generation, &output, stats);
  }
  return edge::told(status, error);
}

const char* bitnet_edge_why_no_chat(const bitnet_edge* engine) {
  return engine && !engine->conversation ? engine->why_no_chat.c_str() : nullptr;
}

const int32_t* bitnet_edge_answer_ids(const bitnet_edge* engine, size_t* count) {
  if (count) *count = engine ? engine->answer_ids.size() : 0;
  return engine ? engine->answer_ids.data() : nullptr;
}

void bitnet_edge_stop(bitnet_edge* engine) {
  if (engine) engine->stop = true;
}
