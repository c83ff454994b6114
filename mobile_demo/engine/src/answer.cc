// One answer: the options of the caller and the artifact, ids from the loop, text to the caller.
#include <algorithm>

#include "base/utf8.h"
#include "engine.h"
#include "text/stream.h"

namespace edge {
namespace {

constexpr int32_t kNewTokens = 512;

// Reads the ids of an answer and gives their text.
struct Reader {
  bitnet_edge* engine;
  AnswerText text;
  Output* output;

  bool give(const std::string& piece) {
    output->text += piece;
    return !output->piece || output->piece(piece.data(), piece.size(), output->user) == 0;
  }

  static IdReader::Answer read(void* context, int32_t id) {
    Reader& reader = *static_cast<Reader*>(context);
    const bool more = reader.give(reader.text.add(id));
    if (reader.text.stopped()) return IdReader::kStopString;
    return more && !reader.engine->stop ? IdReader::kGoOn : IdReader::kStopped;
  }
};

// The largest number of new ids, as transformers counts it.
Status limit_of(const GenerationConfig& config, int32_t given, size_t prompt, int32_t* limit) {
  if (given < 0) {
    return fail(BITNET_EDGE_ARGUMENT, "max_new_tokens is %d, expected at least 0", given);
  }
  *limit = given ? given : config.max_new_tokens ? config.max_new_tokens : kNewTokens;
  if (given || config.max_new_tokens || !config.max_length) return {};
  if (prompt >= static_cast<size_t>(config.max_length)) {
    return fail(BITNET_EDGE_CONTEXT,
                "the prompt has %zu tokens, expected fewer than max_length %d; give "
                "max_new_tokens, which does not count the prompt",
                prompt, config.max_length);
  }
  *limit = config.max_length - static_cast<int32_t>(prompt);
  return {};
}

Status sampling_of(const bitnet_edge& engine, const bitnet_edge_generation& given,
                   Sampling* sampling) {
  *sampling = {given.do_sample != 0, given.temperature,        given.top_k, given.top_p,
               given.min_p,          given.repetition_penalty, given.seed};
  if (Status status = check_sampling(*sampling); !status.ok()) return status;
  if (sampling->samples() && !engine.config.not_sampled.empty()) {
    return fail(BITNET_EDGE_UNSUPPORTED, "%s", engine.config.not_sampled.c_str());
  }
  return {};
}

Status stop_strings_of(const bitnet_edge_generation& given, std::vector<std::string>* strings) {
  for (size_t i = 0; given.stop_strings && i < given.stop_string_count; i++) {
    const char* string = given.stop_strings[i];
    if (!string || !*string) {
      return fail(BITNET_EDGE_ARGUMENT, "a stop string is empty, expected a text");
    }
    if (!is_utf8(string)) {
      return fail(BITNET_EDGE_ARGUMENT, "a stop string is no UTF-8, expected UTF-8");
    }
    strings->push_back(string);
  }
  return {};
}

// The options' own tokens, or where they name none those of the tokenizer and the template.
std::vector<int32_t> ends_of(const bitnet_edge& engine, bool of_chat) {
  std::vector<int32_t> ids = engine.config.eos_ids;
  if (engine.config.has_eos && !of_chat) return ids;
  for (const std::vector<int32_t>* own : {&engine.tokenizer->eos(), &engine.chat_ends}) {
    ids.insert(ids.end(), own->begin(), own->end());
  }
  return ids;
}

Status check_prompt(const Session& session, const std::vector<int32_t>& prompt) {
  if (prompt.empty()) {
    return fail(BITNET_EDGE_ARGUMENT, "the prompt has no ids, expected at least one");
  }
  for (const int32_t id : prompt) {
    if (id >= 0 && id < session.vocab_size()) continue;
    return fail(BITNET_EDGE_ARGUMENT, "the prompt holds the id %d, expected 0 to %d", id,
                session.vocab_size() - 1);
  }
  if (prompt.size() > static_cast<size_t>(session.context_length())) {
    return fail(BITNET_EDGE_CONTEXT,
                "the prompt has %zu tokens, expected at most the context of %d; shorten it, or "
                "export the model with a longer context if it has one",
                prompt.size(), session.context_length());
  }
  return {};
}

}  // namespace

Status answer(bitnet_edge* engine, const std::vector<int32_t>& prompt,
              const bitnet_edge_generation& generation, bool of_chat, Output* output,
              LoopResult* result) {
  LoopOptions options;
  std::vector<std::string> stop_strings;
  if (generation.when_full != BITNET_EDGE_FULL_ENDS &&
      generation.when_full != BITNET_EDGE_FULL_FORGETS &&
      generation.when_full != BITNET_EDGE_FULL_REFUSES) {
    return fail(BITNET_EDGE_ARGUMENT, "when_full is %d, expected 0 to 2", generation.when_full);
  }
  Status status = check_prompt(*engine->session, prompt);
  if (status.ok()) {
    status =
        limit_of(engine->config, generation.max_new_tokens, prompt.size(), &options.max_new_tokens);
  }
  if (status.ok()) status = sampling_of(*engine, generation, &options.sampling);
  if (status.ok()) status = stop_strings_of(generation, &stop_strings);
  if (!status.ok()) return status;
  options.eos_ids = ends_of(*engine, of_chat);
  options.goes_on = generation.when_full == BITNET_EDGE_FULL_FORGETS;
  options.kept = of_chat ? engine->system_ids : 0;
  Reader reader{engine, AnswerText(*engine->tokenizer, std::move(stop_strings)), output};
  status = generate(engine->session.get(), prompt, options, engine->stop,
                    IdReader{Reader::read, &reader}, result);
  if (status.ok()) {
    if (const std::string rest = reader.text.finish(); !rest.empty()) reader.give(rest);
  }
  if (status.ok()) engine->answer_ids = result->ids;
  return status;
}

}  // namespace edge
